"""Crops: where things land, what lies around the face, and how pixels are averaged."""

import itertools
import math

import cv2
import numpy as np
import pytest
import skimage.data

from rffr_jax.errors import UserError
from rffr_jax.faces.crop import ALIGNMENTS, INTERPOLATIONS, CropSettings, crop_face, crop_matrix
from rffr_jax.faces.face import Face
from rffr_jax.images.alignment import TEMPLATE
from tests.faces.movies import ASTRONAUT


def random_face(random: np.random.Generator) -> Face:
    """A turned face of irregular features somewhere in a picture of about 400 x 400."""
    size, middle = random.uniform(80, 200), random.uniform(150, 250, 2)
    angle = random.uniform(-0.6, 0.6)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = (np.array(TEMPLATE) - 0.5 + random.normal(0, 0.02, (5, 2))) @ turn.T * size + middle
    wide, high = random.uniform(0.4, 0.9, 2) * size
    box = [middle[0] - wide / 2, middle[1] - high / 2, middle[0] + wide / 2, middle[1] + high / 2]
    return Face(np.array(box, np.float32), points.astype(np.float32), 0.9)


def square_face(left: float, top: float, side: float) -> Face:
    """A face whose box covers whole pixels: `left` and `top` are the numbers of the first ones."""
    box = np.array([left, top, left + side, top + side], np.float32) - 0.5
    return Face(box, ASTRONAUT.landmarks, 1.0)


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("alignment", "interpolation"), list(itertools.product(ALIGNMENTS, INTERPOLATIONS))
)
def test_landmarks_lie_where_the_warp_puts_a_dot(alignment, interpolation):
    random = np.random.default_rng(0)
    y, x = np.mgrid[:400, :400]
    checked = 0
    for size in (64, 112, 224):
        face = random_face(random)
        settings = CropSettings(size, 1.8, alignment, interpolation)
        landmarks = crop_face(np.zeros((400, 400, 3), np.uint8), face, settings).landmarks
        for (px, py), expected in zip(face.landmarks, landmarks, strict=True):
            dot = 255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 4**2))
            picture = np.rint(dot)[..., None].repeat(3, 2).astype(np.uint8)
            weight = crop_face(picture, face, settings).image[..., 0].astype(np.float64)
            rows, columns = np.mgrid[:size, :size]
            found = [(columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()]
            if 0.15 * size < expected.min() and expected.max() < 0.85 * size:
                assert math.dist(found, expected) < 0.1
                checked += 1
    assert checked >= 10


def test_turned_face_is_made_upright():
    random = np.random.default_rng(1)
    picture = skimage.data.astronaut()
    centre = ASTRONAUT.landmarks.mean(0).tolist()
    settings = CropSettings(96, 1.0)
    upright = crop_face(picture, ASTRONAUT, settings)
    eyes = upright.landmarks[1] - upright.landmarks[0]
    assert abs(math.atan2(eyes[1], eyes[0])) < math.radians(6)
    for angle in random.uniform(-170, 170, 5):
        turn = cv2.getRotationMatrix2D(centre, angle, random.uniform(0.9, 1.6))
        turned = cv2.warpAffine(picture, turn, (512, 512), flags=cv2.INTER_CUBIC)
        landmarks = (ASTRONAUT.landmarks @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
        crop = crop_face(turned, Face(ASTRONAUT.box, landmarks, 1.0), settings)
        np.testing.assert_allclose(crop.landmarks, upright.landmarks, atol=0.01)
        assert np.abs(crop.image - upright.image.astype(float)).mean() < 4


def test_landmarks_of_the_template_show_the_stated_context():
    size = 300.0
    points = np.array(TEMPLATE) * size - 0.5
    face = Face(np.zeros(4, np.float32), points.astype(np.float32), 1.0)
    for scale in (1.0, 1.3, 2.0):
        matrix = crop_matrix(face, CropSettings(100, scale))
        side = scale * 0.69 * size
        corner = np.array([0.5, 0.554]) * size - 0.5 - side / 2
        np.testing.assert_allclose(matrix[:, :2], np.eye(2) * 100 / side, atol=1e-6)
        np.testing.assert_allclose(matrix[:, :2] @ corner + matrix[:, 2], [-0.5, -0.5], atol=1e-4)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_twice_the_scale_shows_twice_the_context_around_the_same_centre(alignment):
    face = random_face(np.random.default_rng(2))
    near = crop_matrix(face, CropSettings(100, 1.1, alignment))
    far = crop_matrix(face, CropSettings(100, 2.2, alignment))
    np.testing.assert_allclose(near[:, :2], 2 * far[:, :2])
    middle = np.linalg.solve(near[:, :2], np.array([49.5, 49.5]) - near[:, 2])
    np.testing.assert_allclose(far[:, :2] @ middle + far[:, 2], [49.5, 49.5])


def test_both_alignments_show_a_like_context_of_an_upright_face():
    similarity = crop_matrix(ASTRONAUT, CropSettings(alignment="similarity"))
    box = crop_matrix(ASTRONAUT, CropSettings(alignment="box"))
    ratio = math.hypot(similarity[0, 0], similarity[1, 0]) / box[0, 0]
    assert ratio == pytest.approx(1, abs=0.15)


def test_box_that_needs_no_interpolation_is_copied_and_black_beyond_the_picture():
    picture = noise(3, 60, 80)
    settings = CropSettings(32, 2.0, "box")
    padded = np.pad(picture, ((40, 40), (40, 40), (0, 0)))
    for left, top in ((30, 20), (2, 5), (70, 50), (-10, -12), (78, 58)):
        crop = crop_face(picture, square_face(left, top, 16), settings)
        expected = padded[top - 8 + 40 : top + 24 + 40, left - 8 + 40 : left + 24 + 40]
        np.testing.assert_array_equal(crop.image, expected)
        np.testing.assert_allclose(crop.landmarks, ASTRONAUT.landmarks - [left - 8, top - 8])


def test_longer_side_of_the_box_counts():
    wide = Face(np.array([10, 30, 42, 50], np.float32) - 0.5, ASTRONAUT.landmarks, 1.0)
    picture = noise(4, 80, 60)
    crop = crop_face(picture, wide, CropSettings(32, 1.0, "box"))
    np.testing.assert_array_equal(crop.image, picture[24:56, 10:42])


def test_bilinear_takes_every_third_pixel_and_area_their_mean():
    picture = noise(5, 120, 120)
    part = picture[7 : 7 + 96, 4 : 4 + 96]
    face = square_face(4, 7, 96)
    bilinear = crop_face(picture, face, CropSettings(32, 1.0, "box", "bilinear"))
    np.testing.assert_array_equal(bilinear.image, part[1::3, 1::3])
    area = crop_face(picture, face, CropSettings(32, 1.0, "box", "area"))
    means = part.reshape(32, 3, 32, 3, 3).mean((1, 3))
    assert np.abs(area.image - means).max() <= 0.5 + 1e-6


def test_bilinear_against_numpy():
    picture = noise(6, 90, 90)
    random = np.random.default_rng(6)
    face, settings = random_face(random), CropSettings(48, 1.2)
    face = Face(face.box, face.landmarks * 90 / 400, 1.0)
    matrix = crop_matrix(face, settings)
    crop = crop_face(picture, face, settings).image
    rows, columns = np.mgrid[:48, :48]
    places = np.linalg.solve(
        matrix[:, :2], np.stack([columns.ravel(), rows.ravel()]) - matrix[:, 2:]
    )
    padded = np.pad(picture, ((200, 200), (200, 200), (0, 0))).astype(np.float64)
    x, y = places + 200
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    u, v = (x - left)[:, None], (y - top)[:, None]
    upper = padded[top, left] * (1 - u) + padded[top, left + 1] * u
    lower = padded[top + 1, left] * (1 - u) + padded[top + 1, left + 1] * u
    expected = (upper * (1 - v) + lower * v).reshape(48, 48, 3)
    # OpenCV rounds places to 1/32 of a pixel in some versions.
    assert np.abs(crop - expected).max() <= 2 * 255 / 32 / 2 + 1
    assert np.abs(crop - expected).mean() < 1.5


def test_area_is_bilinear_where_the_picture_grows():
    picture = noise(7, 50, 50)
    face = square_face(10, 10, 20)
    bilinear = crop_face(picture, face, CropSettings(64, 1.3, "box", "bilinear"))
    area = crop_face(picture, face, CropSettings(64, 1.3, "box", "area"))
    np.testing.assert_array_equal(bilinear.image, area.image)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 8}, "crop size 8"),
        ({"size": 4096}, "crop size 4096"),
        ({"scale": 0.0}, "crop scale 0.0"),
        ({"scale": math.nan}, "crop scale nan"),
        ({"alignment": "affine"}, "alignment 'affine': give similarity or box"),
        ({"interpolation": "cubic"}, "interpolation 'cubic': give bilinear or area"),
    ],
)
def test_settings_that_are_not_possible(values, message):
    with pytest.raises(UserError, match=message):
        CropSettings(**values)
