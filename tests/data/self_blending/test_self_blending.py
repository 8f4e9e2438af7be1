"""Self-blended images: what is drawn, the mask, and the equation of blending, each re-done here."""

import collections
import dataclasses
import pathlib

import numpy as np
import pytest
import scipy.ndimage
import scipy.spatial

from rffr_jax.data.self_blending import blending as self_blending
from rffr_jax.data.self_blending.blending import (
    ColourChange,
    blending_mask,
    sample_parameters,
    self_blend,
)
from rffr_jax.data.specs import load_dataset
from rffr_jax.images.landmarks import LandmarkedFace, load_face, to_68_landmarks

PHOTOGRAPHS = pathlib.Path(__file__).parents[4] / "shared" / "faces" / "ffhq256"
SIDE = 96
PLAIN = ColourChange((0.0, 0.0, 0.0), 0.0, 0.0)


@pytest.fixture(scope="module")
def face():
    return load_face(load_dataset("synthetic:0#validation?limit=8"), 1, SIDE)


def recipe(seed=0, **changes):
    drawn = sample_parameters(np.random.default_rng(seed))
    return dataclasses.replace(drawn, **changes)


def reference_hull(points):
    """Whether the centre of each pixel lies within the hull, by its half-planes."""
    planes = scipy.spatial.ConvexHull(points.astype(np.float64)).equations
    y, x = np.mgrid[:SIDE, :SIDE]
    centres = np.stack([x, y, np.ones_like(x)], -1)
    return (centres @ planes.T <= 0).all(-1)


def distance_outside(inside):
    return np.asarray(scipy.ndimage.distance_transform_edt(~inside))


def distance_inside(inside):
    return np.asarray(scipy.ndimage.distance_transform_edt(inside))


# ---- what is drawn


def test_drawn_numbers_fill_the_stated_ranges():
    drawn = [sample_parameters(np.random.default_rng(seed)) for seed in range(4000)]
    stretched = (0.95, 1 / 0.95)
    ranges = [
        ("scale", (stretched, stretched)),
        ("shift", ((-0.03, 0.03), (-0.015, 0.015))),
        ("blur", ((0.02, 0.12), (0.02, 0.12))),
    ]
    for name, stated in ranges:
        for axis, (low, high) in enumerate(stated):
            values = np.array([getattr(one, name)[axis] for one in drawn])
            width = high - low
            assert low <= values.min() < low + 0.01 * width
            assert high - 0.01 * width < values.max() <= high
            assert abs(values.mean() - (low + high) / 2) < 4 * width / np.sqrt(12 * 4000)
    for one in drawn:
        assert one.displacement.shape == (self_blending.CELLS, self_blending.CELLS, 2)
    noise = np.stack([one.displacement for one in drawn[:200]])
    assert abs(noise.std() - self_blending.DISPLACEMENT) < 0.02 * self_blending.DISPLACEMENT


def test_coins_are_fair_and_independent():
    drawn = [sample_parameters(np.random.default_rng(seed)) for seed in range(4000)]
    outcomes = collections.Counter((one.changes_source, one.sharpening > 0) for one in drawn)
    assert len(outcomes) == 4
    for count in outcomes.values():
        assert abs(count - 1000) < 4 * np.sqrt(4000 * 0.25 * 0.75)
    for one in drawn:  # sharpened or down-scaled, never both
        assert (one.sharpening > 0) == (one.down_scaling == 1)
        assert one.sharpening == 0 or 0.3 <= one.sharpening <= 1.2
        assert one.down_scaling in (1, 2, 4)


def test_ratios_have_the_paper_s_distribution():
    counts = collections.Counter(
        sample_parameters(np.random.default_rng(s)).ratio for s in range(6000)
    )
    assert counts.keys() == {0.25, 0.5, 0.75, 1.0}
    for ratio, expected in ((0.25, 1000), (0.5, 1000), (0.75, 1000), (1.0, 3000)):
        share = expected / 6000
        assert abs(counts[ratio] - expected) < 4 * np.sqrt(6000 * share * (1 - share))


# ---- the mask


@pytest.mark.parametrize("blur", [(0.12, 0.03), (0.06, 0.06), (0.03, 0.12)])
def test_the_mask_is_the_hull_less_the_first_blur_and_more_by_the_second(face, blur):
    still = np.zeros((self_blending.CELLS,) * 2 + (2,), np.float32)
    points = to_68_landmarks(face.landmarks)
    mask = blending_mask(points, SIDE, recipe(displacement=still, blur=blur, ratio=0.75))
    inside = reference_hull(points)
    first, second = (round(part * inside.sum() ** 0.5) for part in blur)
    allowed = distance_inside(inside) - distance_outside(inside)  # below 0 outside
    # A square window of radius r reaches r * sqrt(2); 2 pixels for the edges of both rasters.
    assert not mask[allowed < first - np.sqrt(2) * second - 2].any()
    np.testing.assert_allclose(mask[allowed > np.sqrt(2) * (first + second) + 2], 0.75, atol=1e-5)
    assert mask.min() >= 0
    assert mask.max() <= 0.75


def test_a_larger_first_blur_keeps_the_mask_within_the_deformed_hull(face):
    points = to_68_landmarks(face.landmarks)
    inside = reference_hull(points)
    bound = np.sqrt(2) * self_blending.LARGEST_DISPLACEMENT * inside.sum() ** 0.5
    masks = []
    for seed in range(40):
        mask = blending_mask(points, SIDE, recipe(seed, blur=(0.10, 0.02), ratio=1.0))
        assert mask.any()
        assert not mask[distance_outside(inside) > bound + 2].any()
        masks.append(mask > 0.5)
    assert np.mean([(mask != masks[0]).mean() for mask in masks[1:]]) > 0.004  # of all shapes


def test_the_mask_is_the_same_face_at_every_size():
    dataset = load_dataset("synthetic:0#validation?limit=8")
    shape = to_68_landmarks(load_face(dataset, 1, 64).landmarks)
    small = blending_mask(shape, 64, recipe(3))
    large = blending_mask((shape + 0.5) * 4 - 0.5, 256, recipe(3))
    averaged = large.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.abs(averaged - small).mean() < 0.02


def test_the_edge_of_a_mask_has_no_step(face):
    """At 256 pixels no two neighbours differ by more than a Gaussian of the smallest blur can."""
    shape = to_68_landmarks(face.landmarks) * (256 / SIDE)
    for seed in range(20):
        mask = blending_mask(shape, 256, recipe(seed, ratio=1.0))
        assert max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1)) < 0.6
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()


def test_a_narrow_face_keeps_a_mask():
    points = np.array([[40, 20], [44, 20], [44, 80], [40, 80]], np.float32).repeat(17, 0)
    assert blending_mask(points, SIDE, recipe(blur=(0.12, 0.02), ratio=1.0)).max() > 0.3


def test_landmarks_that_enclose_nothing_are_refused(face):
    for points in (np.zeros((68, 2)), np.full((68, 2), 5000.0), np.linspace(0, 40, 136)):
        bad = LandmarkedFace(face.image, points.astype(np.float32).reshape(68, 2))
        with pytest.raises(ValueError, match="enclose less than 1% of it"):
            self_blend(bad, recipe())


# ---- the picture


def reference_colours(image, colours):
    image = (image + np.array(colours.rgb)).clip(0, 1)
    return (image * (1 + colours.contrast) + colours.brightness).clip(0, 1)


@pytest.mark.parametrize("changes_source", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_equation_of_blending_in_float64(face, seed, changes_source):
    """Sharpened, shifted by whole pixels: all of it can be re-done exactly."""
    right, down = ((3, -1), (-2, 1), (0, 0), (1, 1))[seed]
    one = recipe(
        seed,
        changes_source=changes_source,
        sharpening=0.8,
        down_scaling=1,
        scale=(1.0, 1.0),
        shift=(right / SIDE, down / SIDE),
    )
    made = self_blend(face, one)
    base = face.image / 255.0
    changed = reference_colours(base, one.colours)
    blur = scipy.ndimage.gaussian_filter(changed, (1, 1, 0), mode="mirror", truncate=4)
    changed = (changed + 0.8 * (changed - blur)).clip(0, 1)
    source, target = (changed, base) if changes_source else (base, changed)
    rows = (np.arange(SIDE) - down).clip(0, SIDE - 1)
    columns = (np.arange(SIDE) - right).clip(0, SIDE - 1)
    mask = made.mask.astype(np.float64)[..., None]
    expected = mask * source[rows][:, columns] + (1 - mask) * target
    assert made.image.dtype == np.uint8
    assert np.abs(made.image - 255 * expected).max() < 0.51


def test_the_source_is_stretched_about_the_middle_and_shifted():
    """A white dot, tracked by its centroid."""
    image = np.zeros((101, 101, 3), np.uint8)
    image[29:32, 69:72] = 255  # its middle is at x 70, y 30
    ends = np.array([[1, 1], [99, 1], [99, 99], [1, 99]], np.float32).repeat(17, 0)
    one = recipe(
        changes_source=True,
        colours=PLAIN,
        sharpening=0.0,
        down_scaling=1,
        scale=(0.95, 1 / 0.95),
        shift=(0.03, -0.015),
        displacement=np.zeros((self_blending.CELLS,) * 2 + (2,), np.float32),
        blur=(0.02, 0.02),
        ratio=1.0,
    )
    weights = self_blend(LandmarkedFace(image, ends), one).image[..., 0].astype(np.float64)
    y, x = (float((weights * axis).sum() / weights.sum()) for axis in np.mgrid[:101, :101])
    assert x == pytest.approx(50 + 20 * 0.95 + 3.03, abs=0.1)
    assert y == pytest.approx(50 - 20 / 0.95 - 1.515, abs=0.1)


def test_down_scaling_takes_detail_away_and_sharpening_adds_some(face):
    def detail(**changes):
        one = recipe(colours=PLAIN, changes_source=False, ratio=0.25, **changes)
        image = self_blend(face, one).image.astype(float).mean(-1)[:20]  # above the mask
        return np.abs(image - scipy.ndimage.gaussian_filter(image, 1)).mean()

    untouched = detail(sharpening=0.0, down_scaling=1)
    assert detail(sharpening=0.8, down_scaling=1) > 1.3 * untouched
    assert detail(sharpening=0.0, down_scaling=4) < 0.7 * untouched


@pytest.mark.parametrize("changes_source", [True, False])
def test_real_and_fake_are_equal_outside_the_mask(face, changes_source):
    for seed in range(10):
        made = self_blend(face, recipe(seed, changes_source=changes_source))
        outside = made.mask == 0
        np.testing.assert_array_equal(made.image[outside], made.real[outside])
        assert (made.image[~outside] != made.real[~outside]).any()
        assert (made.real == face.image).all() == changes_source


def test_colours_change_within_the_published_ranges():
    for most, probability in ((0.1, 1.0), (0.3, 0.3)):
        changes = [
            self_blending.sample_colour_change(
                np.random.default_rng(seed), most=most, probability=probability
            )
            for seed in range(3000)
        ]
        rgb = np.array([one.rgb for one in changes])
        rest = np.array([(one.brightness, one.contrast) for one in changes])
        for values, limit, expected in ((rgb, 20 / 255, 0.3), (rest, most, probability)):
            moved = values.any(1)
            assert abs(moved.mean() - expected) < 4 * np.sqrt(0.25 / 3000)
            assert 0.98 * limit < np.abs(values).max() <= limit
            assert abs(values[moved].std() - limit / np.sqrt(3)) < 0.05 * limit


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs here")
def test_photographs_stay_plausible():
    """The colours of an image move by a few per cent of the scale, and its face does not go."""
    dataset = load_dataset(f"folder:{PHOTOGRAPHS}?limit=20&landmarks=aligned")
    for index in range(20):
        face = load_face(dataset, index, 224)
        made = self_blend(face, recipe(index))
        before, after = (image.reshape(-1, 3) / 255 for image in (face.image, made.image))
        assert np.abs(after.mean(0) - before.mean(0)).max() < 0.2
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
        assert 0.02 < (made.mask > 0).mean() < 0.4
