"""Residuals of real faces: measured as plain NumPy does it, and kept for the weights only."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.residual_reference import (
    MIN_FACES,
    RECORD,
    ResidualReference,
    measure_reference,
)
from rffr_jax.examples import Example
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.residual import block_heat
from rffr_jax.runs.weight_records import read_valid_record, write_record


def drawn(reals=40, fakes=25, k=4):
    """Scored examples in a random order, and their heat; fakes have much more of it."""
    rng = np.random.default_rng(reals)
    labels = rng.permutation([0] * reals + [1] * fakes)
    examples = [
        Example(f"{n}", f"{n}.png", int(y), "d", "m", "", 0, "") for n, y in enumerate(labels)
    ]
    heat = (rng.gamma(4.0, 0.05, (len(labels), k, k)) + 3 * labels[:, None, None]).astype("f4")
    return Predictions(examples, rng.random(len(labels)), {}), heat


def measured():
    reference = measure_reference(*drawn(), ["v"])
    assert reference is not None
    return reference


@pytest.mark.parametrize(("grid", "k"), [(14, 4), (14, 2), (8, 4), (14, 6)])
def test_heat_is_the_mean_of_every_block(grid, k):
    blocks, patch = BlockGrid(grid, k), 4
    residuals = np.random.default_rng(0).uniform(-1, 1, (2, grid * patch, grid * patch, 3))
    heat = np.asarray(block_heat(jnp.asarray(residuals, jnp.float32), blocks, patch))
    side = grid // k
    offset = (grid - k * side) // 2
    for image in range(2):
        for row in range(k):
            for column in range(k):
                top, left = (patch * (offset + side * n) for n in (row, column))
                block = residuals[image, top : top + patch * side, left : left + patch * side]
                assert heat[image, row, column] == pytest.approx(np.abs(block).mean(), rel=1e-5)


def test_reference_is_that_of_the_reals_by_hand():
    predictions, heat = drawn()
    reference = measure_reference(predictions, heat, ["csv:validation.csv"])
    assert reference is not None
    real = [heat[n] for n, example in enumerate(predictions.examples) if example.label == 0]
    assert reference.faces == len(real) == 40
    for row in range(4):
        for column in range(4):
            ordered = sorted(float(one[row, column]) for one in real)
            low, share = divmod(0.95 * (len(ordered) - 1), 1)
            between = ordered[int(low)] * (1 - share) + ordered[int(low) + 1] * share
            assert reference.high[row, column] == pytest.approx(between)
            assert reference.mean[row, column] == pytest.approx(sum(ordered) / len(ordered))
    above = [bool((one > reference.high).any()) for one in real]
    assert reference.exceed == pytest.approx(sum(above) / len(above))
    assert 0 < reference.exceed < 1
    relative = reference.relative(heat[3])
    assert relative[1, 2] == pytest.approx(heat[3, 1, 2] / reference.high[1, 2])
    assert reference.origin()["data"] == ["csv:validation.csv"]


def test_few_faces_and_blocks_without_residual_give_none():
    assert measure_reference(*drawn(reals=MIN_FACES), ["v"]) is not None
    assert measure_reference(*drawn(reals=MIN_FACES - 1), ["v"]) is None
    predictions, heat = drawn()
    heat[:, 2, 1] = 0
    assert measure_reference(predictions, heat, ["v"]) is None


def write(folder, checkpoint):
    write_record(folder, RECORD, checkpoint, "digest", measured().to_json())


def read(folder, checkpoint, digest="digest"):
    def from_json(record):
        return ResidualReference.from_json(record, k=4)

    return read_valid_record(folder, RECORD, checkpoint, digest, from_json)


def test_it_is_read_for_its_own_weights_only(tmp_path, caplog):
    reference = measured()
    assert read(tmp_path, "best:faces") is None
    write(tmp_path, "best:faces")
    found = read(tmp_path, "best:faces")
    assert found is not None
    np.testing.assert_array_equal(found.high, reference.high)
    np.testing.assert_array_equal(found.mean, reference.mean)
    assert found.origin() == reference.origin()
    assert read(tmp_path, "last") is None
    assert caplog.text == ""
    assert read(tmp_path, "best:faces", "of other weights") is None
    assert "best-faces.json: the residual reference is of other weights" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"high": [[0.1] * 4] * 3},
        {"high": [[0.1] * 3 + [0.0]] * 4},
        {"high": [["a"] * 4] * 4},
        {"mean": None},
        {"exceed": 2},
        {"faces": "many"},
        {"data": 3},
    ],
)
def test_a_damaged_file_is_named(tmp_path, change):
    write(tmp_path, "last")
    file = tmp_path / "residual_references/last.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=r"last\.json is damaged .*delete it"):
        read(tmp_path, "last")
