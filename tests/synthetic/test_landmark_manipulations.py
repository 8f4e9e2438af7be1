import dataclasses
import functools

import cv2
import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.images.landmarks import TEMPLATE_68
from rffr_jax.synthetic import landmark_manipulations
from rffr_jax.synthetic.capture import capture_frame
from rffr_jax.synthetic.expression_transfer import MOUTH, expression_transfer, move_parts
from rffr_jax.synthetic.face_mesh import MeshedFace, mesh_points, triangles, warp_mesh
from rffr_jax.synthetic.landmark_manipulations import (
    LANDMARK_METHODS,
    manipulate_frame,
    pick_donor,
)
from rffr_jax.synthetic.landmark_swap import landmark_swap
from rffr_jax.synthetic.landmarked_frame import LandmarkedFrame, crop_face
from rffr_jax.synthetic.person import procedural_landmarks
from rffr_jax.synthetic.procedural_face import render_face
from rffr_jax.synthetic.texture_model import fit_texture_model, from_texture, to_texture

SIDE = 112


def rng(*key):
    return np.random.default_rng(np.random.SeedSequence(key))


@functools.cache
def drawn(identity, side=SIDE):
    """A drawn person in a frame that is wider than high."""
    image = np.rint(render_face(3, identity, side).image * 255).astype(np.uint8)
    points = procedural_landmarks(3, identity) * side - 0.5
    wide = cv2.copyMakeBorder(image, 0, 0, 20, 20, cv2.BORDER_REFLECT)
    return LandmarkedFrame(wide, (points + [20, 0]).astype(np.float32), f"p{identity}")


@functools.cache
def textures():
    return fit_texture_model([drawn(identity) for identity in range(24, 48)])


def made(method, identity=30, donor=31, seed=0):
    return manipulate_frame(method, drawn(identity), drawn(donor), textures(), rng(seed))


@pytest.mark.parametrize("method", LANDMARK_METHODS)
def test_outside_the_mask_nothing_changes_and_inside_something_does(method):
    frame, fake = drawn(30), made(method)
    assert fake.image.dtype == np.uint8
    assert fake.image.shape[:2] == fake.mask.shape == frame.image.shape[:2]
    np.testing.assert_array_equal(fake.image[fake.mask == 0], frame.image[fake.mask == 0])
    change = np.abs(fake.image.astype(int) - frame.image)[fake.mask > 0.5]
    assert change.mean() > 1
    assert 0.02 < (fake.mask > 0).mean() < 0.4
    assert fake.mask.max() <= 1
    x, y = np.rint(frame.landmarks[MOUTH].mean(0)).astype(int)
    assert fake.mask[y, x] > 0.9


@pytest.mark.parametrize("method", LANDMARK_METHODS)
def test_a_fake_is_a_function_of_its_frames_and_generator(method):
    before = drawn(30).image.copy()
    np.testing.assert_array_equal(made(method).image, made(method).image)
    np.testing.assert_array_equal(drawn(30).image, before)
    assert (made(method, seed=1).image != made(method).image).any()
    assert (made(method, donor=33).image != made(method).image).any()


def test_a_swap_shows_the_donor_and_a_transfer_does_not():
    """Within the core of the face, detail is compared in the mean shape."""

    def inner(frame):
        grey = to_texture(crop_face(frame)[0]).mean(-1)[16:52, 12:52]
        return (grey - cv2.GaussianBlur(grey, (0, 0), 6)).ravel()

    def alikeness(method):
        own, donor = [], []
        for identity in range(24, 29):
            frame, other = drawn(identity), drawn(identity + 1)
            fake = dataclasses.replace(frame, image=made(method, identity, identity + 1).image)
            own.append(np.corrcoef(inner(fake), inner(frame))[0, 1])
            donor.append(np.corrcoef(inner(fake), inner(other))[0, 1])
        return np.mean(own) - np.mean(donor)

    found = {method: alikeness(method) for method in LANDMARK_METHODS}
    assert found["landmark_swap"] < -0.2, found
    assert found["autoencoder_swap"] < found["mouth_render"] - 0.15, found
    assert found["expression_transfer"] > 0.2, found
    assert found["mouth_render"] > 0.2, found


def test_a_sham_is_the_frame():
    """A face swapped for itself or given its own expression stays, up to the resampling."""
    face, _ = crop_face(drawn(30))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rffr_jax.synthetic.landmark_swap._RESOLUTION", (1.0, 1.0))
        swapped = landmark_swap(face, face, rng(0))
    assert (swapped.mask > 0).mean() > 0.1
    assert np.abs(swapped.image - face.image).max() < 3 / 255
    np.testing.assert_allclose(move_parts(face, face, (MOUTH,), 1.0), face.points, atol=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rffr_jax.synthetic.expression_transfer._RESOLUTION", (1.0, 1.0))
        moved = expression_transfer(face, face, rng(0))
    assert np.abs(moved.image - face.image).max() < 0.02


def test_the_expression_is_the_drivers():
    face, driver = (crop_face(drawn(identity))[0] for identity in (30, 33))
    points = move_parts(face, driver, (MOUTH,), 1.0)
    shape = lambda p: (p[MOUTH] - p[MOUTH].mean(0)).ravel()  # noqa: E731
    before = np.corrcoef(shape(face.points), shape(driver.points))[0, 1]
    assert np.corrcoef(shape(points), shape(driver.points))[0, 1] > max(before, 0.99)
    still = np.setdiff1d(np.arange(95), [*range(5, 12), *range(48, 68)])
    np.testing.assert_array_equal(points[still], face.points[still])


def test_a_warp_takes_every_landmark_to_its_place():
    """A spot painted at a point of one face lies at that point of the other."""
    source, target = (mesh_points(drawn(identity).landmarks) for identity in (30, 33))
    for point in (8, 30, 33, 48, 57):
        x, y = source[point]
        image = np.zeros((SIDE, SIDE + 40, 3), np.float32)
        columns, rows = np.meshgrid(np.arange(SIDE + 40), np.arange(SIDE))
        image[...] = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)[..., None]
        moved = warp_mesh(MeshedFace(image, source), target, SIDE, SIDE + 40)[..., 0]
        found = np.array(np.unravel_index(moved.argmax(), moved.shape))[::-1]
        assert np.abs(found - target[point]).max() < 1.5, point


def test_the_mesh_covers_the_ring_without_overlap():
    points = mesh_points((TEMPLATE_68 * 200).astype(np.float64))
    corners = points[triangles()].astype(np.float64)
    edges = corners[:, 1:] - corners[:, :1]
    area = np.abs(np.linalg.det(edges)).sum() / 2
    assert area == pytest.approx(cv2.contourArea(cv2.convexHull(points)), rel=1e-4)


def test_a_texture_model_renders_what_it_has_seen_and_less_of_a_stranger():
    model = textures()
    assert len(model.components) == 8
    np.testing.assert_allclose(model.components @ model.components.T, np.eye(8), atol=1e-4)

    def error(identity, rank):
        texture = to_texture(crop_face(drawn(identity))[0])
        rendered = model.decode(model.encode(texture, rank), texture)
        np.testing.assert_array_equal(rendered[~model.inside], texture[~model.inside])
        return ((rendered - texture)[model.inside] ** 2).mean()

    seen, unseen = ([error(i, 8) for i in who] for who in (range(24, 48), range(12)))
    assert np.mean(seen) < np.mean(unseen) < np.mean([error(i, 0) for i in range(12)])


def test_a_face_returns_from_its_texture():
    face, _ = crop_face(drawn(30))
    back = from_texture(to_texture(face), face)
    core = cv2.fillConvexPoly(
        np.zeros(face.image.shape[:2], np.uint8), np.rint(face.points[:17]).astype(np.int32), 1
    )
    assert np.abs(back - face.image)[core > 0].mean() < 0.02


def test_a_donor_is_another_person_in_a_like_pose(monkeypatch):
    frames = [drawn(identity) for identity in range(10)]
    for seed in range(5):
        assert pick_donor(frames[0], frames, rng(seed)).person != "p0"
    image = np.rint(render_face(3, 40, SIDE).image * 255).astype(np.uint8)
    turned = procedural_landmarks(3, 40) * SIDE - 0.5
    turned[27:36, 0] += 12  # the nose of a head turned to the side
    other = LandmarkedFrame(image, turned, "turned")
    monkeypatch.setattr(landmark_manipulations, "CANDIDATES", 10)
    assert pick_donor(frames[0], [other, frames[1]], rng(0)) is frames[1]


def test_bad_landmarks_have_a_reason():
    frame = drawn(30)
    points = frame.landmarks
    for bad, reason in (
        (points[:5], "landmarks are missing"),
        (points * np.float32(np.nan), "landmarks are missing"),
        (points + np.float32(60), r"of its 68 landmarks lie outside its 152 x 112 pixels"),
        (np.roll(points, 7, 0), "no face's"),
        (np.array([150, 0], np.float32) - points * np.array([1, -1], np.float32), "no face's"),
        (points * np.float32(0.4), r"its eyes lie \d+ pixels apart"),
        (points * 0, "its eyes lie 0 pixels apart"),
    ):
        with pytest.raises(ValueError, match=reason):
            LandmarkedFrame(frame.image, bad, "p")


def test_misuse_is_refused_in_one_line():
    frame = drawn(30)
    with pytest.raises(UserError, match="a donor of p30 must be another person"):
        manipulate_frame("landmark_swap", frame, frame, textures(), rng(0))
    with pytest.raises(UserError, match="p30 has no donor"):
        pick_donor(frame, [frame], rng(0))
    with pytest.raises(UserError, match="at least 8 people, there are 3"):
        fit_texture_model([drawn(identity) for identity in (1, 2, 3, 3)])
    with pytest.raises(ValueError, match="unknown"):
        manipulate_frame("deepfake", frame, drawn(31), textures(), rng(0))


@pytest.mark.parametrize("method", LANDMARK_METHODS)
def test_a_face_at_the_edge_of_the_frame(method):
    frame = drawn(30)
    left, top = np.floor(frame.landmarks.min(0)).astype(int)
    cut = LandmarkedFrame(
        np.ascontiguousarray(frame.image[top:, left:]),
        frame.landmarks - np.array([left, top], np.float32),
        frame.person,
    )
    fake = manipulate_frame(method, cut, drawn(31), textures(), rng(0))
    np.testing.assert_array_equal(fake.image[fake.mask == 0], cut.image[fake.mask == 0])
    assert (fake.image != cut.image).any()


def test_a_fake_is_cut_out_as_its_frame_is_and_its_mask_with_it():
    """Outside the mask, as far as a JPEG block and the interpolation reach, they are equal."""
    frame, fake = drawn(30), made("mouth_render")
    real = capture_frame(frame.image, frame.landmarks, (0, 1), 64)
    taken = capture_frame(fake.image, frame.landmarks, (0, 1), 64, fake.mask)
    assert not real.mask.any()
    assert 0.03 < (taken.mask > 0).mean() < 0.3
    near = cv2.dilate((taken.mask > 0).astype(np.uint8), np.ones((5, 5)))
    blocks = np.kron(near.reshape(8, 8, 8, 8).max((1, 3)), np.ones((8, 8), bool))
    np.testing.assert_array_equal(taken.image[blocks == 0], real.image[blocks == 0])
    change = np.abs(taken.image.astype(int) - real.image).mean(-1)
    assert change[taken.mask > 0.5].mean() > 4 * change[taken.mask == 0].mean()
