import pathlib

import cv2
import numpy as np
import pytest

from rffr_jax.images.alignment import AlignedFace, face_from_aligned_crop
from rffr_jax.synthetic.manipulations import IDENTITY, METHODS, NEEDS_DONOR, manipulate
from rffr_jax.synthetic.procedural_face import render_face

PHOTOGRAPHS = pathlib.Path(__file__).parents[3] / "shared" / "faces" / "ffhq256"


def rng(*key):
    return np.random.default_rng(np.random.SeedSequence(key))


def fine(image):
    """The picture's detail: grey, what a blur of one pixel takes away."""
    grey = image.mean(-1)
    return grey - cv2.GaussianBlur(grey, (0, 0), 1.0)


def made(method, identity, size=96):
    face, donor = render_face(1, identity, size), render_face(1, identity + 1, size)
    return face, manipulate(method, face, donor, rng(identity, METHODS.index(method)))


def test_methods_are_the_four_in_a_fixed_order():
    assert METHODS == ("lowres_swap", "polygon_paste", "mouth_warp", "texture_upsample")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [48, 64, 129, 256])
def test_outside_the_mask_nothing_changes_and_inside_something_does(method, size):
    face, fake = made(method, 4, size)
    before = face.image.copy()
    outside = fake.mask == 0
    np.testing.assert_array_equal(fake.image[outside], face.image[outside])
    np.testing.assert_array_equal(face.image, before)
    assert 0.01 < (fake.mask > 0).mean() < 0.35
    assert fake.mask.min() == 0
    assert fake.mask.max() <= 1
    assert fake.image.min() >= 0
    assert fake.image.max() <= 1
    assert np.abs(fake.image - face.image)[fake.mask > 0.5].mean() > 0.006
    ring = max(2, size // 20)
    assert not fake.mask[:ring].any()
    assert not fake.mask[-ring:].any()
    assert not fake.mask[:, :ring].any()
    assert not fake.mask[:, -ring:].any()


@pytest.mark.parametrize("method", METHODS)
def test_a_manipulation_is_a_function_of_face_donor_and_generator(method):
    np.testing.assert_array_equal(made(method, 2)[1].image, made(method, 2)[1].image)
    face, donor = render_face(1, 2, 96), render_face(1, 3, 96)
    one, other = (manipulate(method, face, donor, rng(seed)).image for seed in (1, 2))
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_only_some_manipulations_look_at_a_donor(method):
    face, donors = render_face(1, 2, 96), [render_face(1, i, 96) for i in (3, 4)]
    images = [manipulate(method, face, donor, rng(1)).image for donor in donors]
    assert (np.abs(images[0] - images[1]).max() > 0) == (method in NEEDS_DONOR)


@pytest.mark.parametrize("method", METHODS)
def test_the_manipulation_goes_where_the_face_goes(method):
    """With the face moved by 12 pixels, the mask moves by 12 pixels."""
    size, move = 128, 12
    face, donor = render_face(1, 2, size), render_face(1, 3, size)
    image = np.roll(face.image, move, axis=1)
    landmarks = face.landmarks + np.array([move, 0], np.float32)
    moved = AlignedFace(image, landmarks)
    mask = manipulate(method, face, donor, rng(1)).mask
    np.testing.assert_allclose(
        manipulate(method, moved, donor, rng(1)).mask, np.roll(mask, move, axis=1), atol=0.02
    )


def test_identity_is_the_face_itself():
    face = render_face(1, 2, 64)
    sham = manipulate(IDENTITY, face, None, rng(1))
    np.testing.assert_array_equal(sham.image, face.image)
    assert not sham.mask.any()


def test_misuse_is_refused():
    face = render_face(1, 2, 64)
    with pytest.raises(ValueError, match="unknown"):
        manipulate("deepfake", face, None, rng(1))
    for donor in (None, render_face(1, 3, 48)):
        with pytest.raises(ValueError, match="donor"):
            manipulate("lowres_swap", face, donor, rng(1))


def energy_ratio(method):
    """Fine energy inside the mask, fake over real: the median of 20 faces."""
    ratios = []
    for identity in range(0, 40, 2):
        face, fake = made(method, identity)
        core = cv2.erode((fake.mask > 0.6).astype(np.uint8), np.ones((5, 5))) > 0
        ratios.append((fine(fake.image)[core] ** 2).mean() / (fine(face.image)[core] ** 2).mean())
    return np.median(ratios)


def test_lowres_swap_alone_loses_the_fine_scales():
    assert energy_ratio("lowres_swap") < 0.25
    for method in ("polygon_paste", "mouth_warp", "texture_upsample"):
        assert 0.7 < energy_ratio(method) < 1.4, method


def test_polygon_paste_alone_has_a_sharp_edge():
    """Of the pixels that are changed, those neither all nor nothing are one pixel wide."""
    for method in METHODS:
        _, fake = made(method, 6, 192)
        partial = ((fake.mask > 0.02) & (fake.mask < 0.98)).sum()
        outline = cv2.Canny((fake.mask > 0.5).astype(np.uint8) * 255, 50, 150) > 0
        width = partial / outline.sum()
        assert (width <= 1.5) == (method == "polygon_paste"), (method, width)


def test_only_polygon_paste_shifts_colours():
    shifts = {}
    for method in METHODS:
        changes = []
        for identity in range(0, 24, 2):
            face, fake = made(method, identity)
            core = fake.mask > 0
            changes.append(np.abs((fake.image[core] - face.image[core]).mean(0)).max())
        shifts[method] = np.median(changes)
    assert shifts["polygon_paste"] > 0.02
    for method in ("lowres_swap", "mouth_warp", "texture_upsample"):
        assert shifts[method] < 0.6 * shifts["polygon_paste"], shifts


def test_only_texture_upsample_repeats_with_a_period_of_two_pixels():
    """How much more alike details two pixels apart are than neighbours, compared with the real."""

    def alternation(image, mask):
        detail = fine(image) * (mask > 0.6)
        two = (detail[:, :-2] * detail[:, 2:]).sum() + (detail[:-2] * detail[2:]).sum()
        one = (detail[:, :-1] * detail[:, 1:]).sum() + (detail[:-1] * detail[1:]).sum()
        return (two - one) / (2 * (detail**2).sum())

    gains = {}
    for method in METHODS:
        pairs = [made(method, identity) for identity in range(0, 40, 2)]
        gains[method] = np.median(
            [
                alternation(fake.image, fake.mask) - alternation(face.image, fake.mask)
                for face, fake in pairs
            ]
        )
    assert gains["texture_upsample"] > 0.2, gains
    for method in ("lowres_swap", "polygon_paste", "mouth_warp"):
        assert gains[method] < 0.1, gains


def test_mouth_warp_only_moves_what_is_there():
    """Grey levels of a two-tone picture stay between the two tones, but for the kernel's lobes."""
    image = np.full((96, 96, 3), 0.3, np.float32)
    image[:, 48:] = 0.6
    fake = manipulate("mouth_warp", face_from_aligned_crop(image), None, rng(3))
    changed = np.abs(fake.image - image).max(-1) > 0.05
    assert changed.any()
    ys, xs = np.nonzero(changed)
    assert np.abs(xs - 48).max() <= 0.08 * 96
    assert ys.min() > 0.55 * 96
    assert fake.image.min() > 0.2
    assert fake.image.max() < 0.7


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs are not here")
@pytest.mark.parametrize("method", METHODS)
def test_photographs_of_any_size_are_taken(method):
    for number, size in ((0, 48), (1, 200), (2, 512)):
        faces = []
        for name in (f"{number:05d}.jpg", f"{number + 9:05d}.jpg"):
            pixels = cv2.imread(str(PHOTOGRAPHS / name))
            assert pixels is not None
            pixels = pixels[..., ::-1] / np.float32(255)
            faces.append(
                face_from_aligned_crop(
                    cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
                )
            )
        fake = manipulate(method, faces[0], faces[1], rng(number))
        outside = fake.mask == 0
        np.testing.assert_array_equal(fake.image[outside], faces[0].image[outside])
        assert np.abs(fake.image - faces[0].image)[fake.mask > 0.5].mean() > 0.003
