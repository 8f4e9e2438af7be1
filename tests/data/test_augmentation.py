"""Images of a pretraining that are changed at random."""

import dataclasses

import numpy as np
import pytest

from rffr_jax.data.augmentation import (
    Augmentation,
    AugmentedDataset,
    apply_tint,
    augment,
    cut_square,
    fit_tint,
    is_grey,
)
from rffr_jax.data.image_hashes import hash_image
from rffr_jax.data.pipeline import train_batches
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Example
from tests import jobs

SIZE = 16
EVERYTHING = Augmentation(crop=0.25, flip=True, gain=0.2, gamma=0.2, tint=True)
NO_TINTS = np.zeros((0, 5, 2), np.float32)


@dataclasses.dataclass(frozen=True)
class Faces:
    """Smooth discs: reddish ones, then grey ones; the last image is bad."""

    colour: int = 30
    grey: int = 3

    @property
    def examples(self):
        count = self.colour + self.grey + 1
        return tuple(
            Example(f"{n}", f"{n}", 0, "discs", "real", f"{n}", 0, "") for n in range(count)
        )

    def load(self, index, size):
        if index == self.colour + self.grey:
            raise BadImageError("bad", "no image")
        places = np.linspace(-1, 1, size) ** 2
        bright = np.exp(-(places[:, None] + places) * (1 + index % 3))
        shares = [0.9, 0.6, 0.4] if index < self.colour else [0.6, 0.6, 0.6]
        return np.rint(255 * bright[..., None] * shares).astype(np.uint8)


def drawn(augmentation, image, seed=0, tints=NO_TINTS, size=SIZE):
    return augment(image, augmentation, tints, size, np.random.default_rng(seed))


def noise(size=SIZE):
    return np.random.default_rng(5).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_nothing_changes_by_default():
    assert not Augmentation()
    np.testing.assert_array_equal(drawn(Augmentation(), noise()), noise())


def test_half_of_the_images_are_mirrored():
    flip = Augmentation(flip=True)
    mirrored = [(drawn(flip, noise(), seed) == noise()[:, ::-1]).all() for seed in range(40)]
    same = [(drawn(flip, noise(), seed) == noise()).all() for seed in range(40)]
    assert 10 < sum(mirrored) < 30
    assert sum(mirrored) + sum(same) == 40


def test_squares_are_cut_at_their_own_resolution_or_a_higher_one():
    crop = Augmentation(crop=0.25)
    assert crop.kept_size(96) == 128
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint8)[:, None, None], (128, 128, 3))
    sides, starts = [], []
    for seed in range(200):
        rows = drawn(crop, np.ascontiguousarray(ramp), seed, size=96)[:, 0, 0].astype(int)
        sides.append((rows[-1] - rows[0] + 1) / 128)
        starts.append(rows[0])
        assert rows.max() - rows.min() <= 127
    assert 0.74 < min(sides) < 0.78
    assert 0.95 < max(sides) <= 1
    assert min(starts) <= 1
    assert max(starts) > 15


def test_gain_multiplies_and_gamma_is_an_exponent():
    grey = np.full((SIZE, SIZE, 3), 51, np.uint8)  # 0.2
    gains = [drawn(Augmentation(gain=0.5), grey, seed)[0, 0, 0] for seed in range(200)]
    assert (min(gains), max(gains)) == (pytest.approx(34, abs=1), pytest.approx(76, abs=1))
    gammas = [drawn(Augmentation(gamma=1.0), grey, seed)[0, 0, 0] for seed in range(200)]
    expected = (255 * 0.2**2, 255 * 0.2**0.5)
    assert (min(gammas), max(gammas)) == pytest.approx(expected, abs=3)


def test_a_tint_gives_a_grey_copy_its_colours_back_and_keeps_luminance():
    coloured = Faces().load(0, 64)
    luminance = np.rint(coloured @ [0.299, 0.587, 0.114]).astype(np.uint8)
    grey = np.stack([luminance] * 3, axis=-1)
    assert is_grey(grey)
    assert not is_grey(coloured)
    tinted = apply_tint(grey, fit_tint(coloured))
    np.testing.assert_allclose(tinted.astype(int), coloured, atol=3)
    np.testing.assert_allclose(tinted @ [0.299, 0.587, 0.114], luminance, atol=1.5)


def test_only_grey_images_are_tinted():
    faces = Faces()
    dataset = AugmentedDataset(faces, SIZE, Augmentation(tint=True), 0, keep_pixels=True)
    for index in (0, 29):
        image = dataset.load_for_row(index, SIZE, step=1, row=2)
        np.testing.assert_array_equal(image, faces.load(index, SIZE))
    for index in (30, 32):
        image = dataset.load_for_row(index, SIZE, step=1, row=2).astype(int)
        assert (image[..., 0] - image[..., 2]).mean() > 20
        np.testing.assert_array_equal(dataset.load(index, SIZE), faces.load(index, SIZE))


def test_too_few_colour_images_to_take_colours_from():
    with pytest.raises(UserError, match="holds 5 faces in colour; name at least 20"):
        AugmentedDataset(Faces(colour=5), SIZE, Augmentation(tint=True), 0, keep_pixels=True)


def batches(dataset, start=0, **options):
    settings = {"size": SIZE, "batch_size": 8, "seed": 3, "num_steps": 12, "balanced": False}
    return list(train_batches(dataset, start_step=start, **settings | options))


def test_rows_are_a_function_of_seed_step_and_row():
    dataset = AugmentedDataset(Faces(), SIZE, EVERYTHING, 3, keep_pixels=True)
    whole = batches(dataset)
    again = AugmentedDataset(Faces(), SIZE, EVERYTHING, 3, keep_pixels=False)
    for batch, other in zip(whole[7:], batches(again, 7), strict=True):
        np.testing.assert_array_equal(batch["image"], other["image"])
    halves = [batches(again, process_index=n, process_count=2) for n in range(2)]
    for batch, *parts in zip(whole, *halves, strict=True):
        np.testing.assert_array_equal(
            batch["image"], np.concatenate([part["image"] for part in parts])
        )
    images = np.concatenate([batch["image"] for batch in whole])
    index = np.concatenate([batch["index"] for batch in whole])
    twice = np.flatnonzero(index == index[0])
    assert len(twice) > 1
    assert (images[twice[0]] != images[twice[1]]).any()


def test_hashes_are_those_of_the_images_that_evaluations_see():
    dataset = AugmentedDataset(Faces(), SIZE, EVERYTHING, 3, keep_pixels=True)
    dataset.load_for_row(4, SIZE, step=0, row=0)
    assert int(dataset.hashes.digests[4]) == hash_image(Faces().load(4, SIZE))[0]


def test_a_square_that_is_the_image_is_not_resampled():
    np.testing.assert_array_equal(
        cut_square(noise(), (0.0, 0.0, float(SIZE), float(SIZE)), SIZE, flip=False), noise()
    )


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("crop=1.0", "data.augmentation.crop=1.0 must be 0 or more and below 1"),
        ("gain=-0.1", "data.augmentation.gain=-0.1 must not be negative"),
    ],
)
def test_values_out_of_range_are_one_line(tmp_path, data, capsys, flag, message):
    assert jobs.start("pretrain", tmp_path, *data, f"data.augmentation.{flag}") == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_an_augmented_run_learns_from_other_images(tmp_path, data, mae):
    flags = ("data.augmentation.crop=0.2", "data.augmentation.flip=True")
    assert jobs.start("pretrain", tmp_path, *data, *flags) == 0
    ours, plain = (jobs.metric_lines(workdir) for workdir in (tmp_path, mae))
    assert ours[0]["loss"] != plain[0]["loss"]
