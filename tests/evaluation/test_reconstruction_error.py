"""Errors of a MAE beside inpainting without a network, by group and part of the face."""

import numpy as np
import pytest

from rffr_jax.evaluation.reconstruction_error import (
    describe,
    doubts,
    error_ratio,
    measure_reconstructions,
    summary,
    training_sample_size,
)
from rffr_jax.examples import Example
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.simple_inpainting import RidgeInpainter, inpaint_telea

PATCH, BLOCKS, SIZE = 2, BlockGrid(8, 2), 16


def example(number, dataset):
    name = str(number)
    return Example(name, name, 0, dataset, "real", name, 0, name)


def report(error=0.1, known=0.1, seed=0):
    rng = np.random.default_rng(seed)
    unseen = rng.integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)
    unseen[4:] = unseen[4:, ..., :1]  # grey
    training = rng.integers(0, 256, (9, SIZE, SIZE, 3), np.uint8)
    examples = [example(n, "a" if n < 2 else "b") for n in range(6)]
    reconstructed = (unseen / 255).astype(np.float32)
    reconstructed[:2] += error  # only of data set a
    told = (training / 255).astype(np.float32) + known
    ridge = RidgeInpainter.fit(training, BLOCKS, PATCH)
    found = measure_reconstructions(
        examples, unseen, reconstructed, training, told, BLOCKS, PATCH, ridge
    )
    return unseen, training, found


def test_errors_by_group_and_region():
    unseen, training, found = report()
    groups = found["groups"]
    assert {name: group["n"] for name, group in groups.items()} == {
        "all": 6, "dataset a": 2, "dataset b": 4, "grey": 2, "colour": 4,
    }  # fmt: skip
    assert groups["dataset a"]["blocks"]["mae"] == pytest.approx(0.01, rel=1e-4)
    assert groups["dataset b"]["blocks"]["mae"] == pytest.approx(0.0, abs=1e-12)
    assert groups["all"]["blocks"]["mae"] == pytest.approx(0.01 / 3, rel=1e-4)
    assert found["training"] == {"n": 9, "mae": pytest.approx(0.01, rel=1e-4)}
    assert found["to_training"] == pytest.approx(1 / 3, rel=1e-3)
    covered = BLOCKS.covered(PATCH)
    expected = {
        "mean_face": training.mean(axis=0) / 255,
        "telea": inpaint_telea(unseen, BLOCKS, PATCH),
        "ridge": RidgeInpainter.fit(training, BLOCKS, PATCH).inpaint(unseen),
    }
    for method, images in expected.items():
        error = np.square(images - unseen / 255)[:, covered].mean()
        assert groups["all"]["blocks"][method] == pytest.approx(error, rel=1e-4)
        inside, outside = (groups["all"][name][method] for name in ("inside", "outside"))
        assert min(inside, outside) <= groups["all"]["blocks"][method] <= max(inside, outside)


def test_another_mix_of_grey_and_colour_is_no_memorising():
    rng = np.random.default_rng(2)

    def images_and_reconstructions(n_grey, n_colour):
        images = rng.integers(0, 256, (n_grey + n_colour, SIZE, SIZE, 3), np.uint8)
        images[:n_grey] = images[:n_grey, ..., :1]
        filled = (images / 255).astype(np.float32)
        filled[:n_grey] += 0.1
        filled[n_grey:] += 0.3  # colour photographs are harder, known or not
        return images, filled

    unseen, training = images_and_reconstructions(3, 3), images_and_reconstructions(8, 1)
    ridge = RidgeInpainter.fit(training[0], BLOCKS, PATCH)
    examples = [example(n, "a") for n in range(6)]
    found = measure_reconstructions(examples, *unseen, *training, BLOCKS, PATCH, ridge)
    assert found["training"]["mae"] == pytest.approx((0.01 + 0.09) / 2, rel=1e-3)
    assert found["to_training"] == pytest.approx(1, rel=1e-3)


def test_the_face_is_in_the_middle():
    rng = np.random.default_rng(1)
    unseen = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    reconstructed = (unseen / 255).astype(np.float32)
    reconstructed[:, 14:18, 14:18] += 0.5
    examples = [example(n, "a") for n in range(2)]
    blocks = BlockGrid(16, 4)
    ridge = RidgeInpainter.fit(unseen, blocks, 2)
    found = measure_reconstructions(
        examples, unseen, reconstructed, unseen, reconstructed, blocks, 2, ridge
    )
    parts = found["groups"]["all"]
    assert parts["inside"]["mae"] > 0
    assert parts["outside"]["mae"] == 0


def test_doubts_are_said():
    good = {"mae": 0.01, "ridge": 0.02, "telea": 0.03, "mean_face": 0.07,
            "mae_on_training_images": 0.01, "to_training": 1.05, "to_ridge": 0.5,
            "to_telea": 0.33}  # fmt: skip
    assert doubts(good) == []
    assert "MAE 0.0100, ridge regression 0.0200, Telea 0.0300, mean face 0.0700" in describe(good)
    assert doubts(good | {"ridge": 0.01}) == [
        "its error on unseen faces is 1.00 times that of a ridge regression"
    ]
    assert (error_ratio(good), error_ratio(good | {"telea": 0.008})) == (0.5, 1.25)
    (loses,) = doubts(good | {"mean_face": 0.005})
    assert loses == "its error on unseen faces is 2.00 times that of the mean face"
    (memorised,) = doubts(good | {"to_training": 1.06})
    assert "1.06 times that on training faces" in memorised
    assert len(doubts(dict.fromkeys(good, float("nan")))) == 4
    _, _, found = report(error=3.0)
    numbers = summary(found)
    assert numbers["mae_inside_face"] > numbers["ridge_inside_face"]
    assert len(doubts(numbers)) == 4


def test_the_regression_is_bounded():
    assert training_sample_size(64) == 1000
    assert training_sample_size(224) == 445
    assert training_sample_size(10**6) == 2
