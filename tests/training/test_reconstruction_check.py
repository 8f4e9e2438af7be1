"""The numbers that a pretraining ends with, and who reads them."""

import csv
import json
import logging
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from rffr_jax.command.export_model import export_model
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.training.reconstruction_check import (
    FILE,
    SPLIT,
    read_reconstruction_check,
    warn_of_weak_mae,
)
from tests import jobs


def test_a_pretraining_ends_with_its_errors_beside_others(mae, tmp_path, caplog):
    report = json.loads((mae / FILE).read_text())
    last = [line for line in jobs.metric_lines(mae) if line["split"] == SPLIT]
    assert [line["step"] for line in last] == [4]
    numbers = read_reconstruction_check(mae)
    assert numbers == {name: value for name, value in last[0].items() if name != "split"}
    assert report["groups"]["all"]["n"] == report["training"]["n"] == 6
    assert numbers["to_ridge"] == pytest.approx(numbers["mae"] / numbers["ridge"])
    assert report["groups"]["dataset faces"] == report["groups"]["all"]
    assert 0 < numbers["ridge"] < numbers["mae"]  # four steps teach nothing
    warn_of_weak_mae("mine", numbers)
    assert any("times that of a ridge regression" in message for message in caplog.messages)
    export_model(mae, tmp_path / "model")
    assert read_reconstruction_check(tmp_path / "model") == numbers


def test_the_error_is_that_of_the_residuals_job(mae, faces, tmp_path):
    with (faces / "validation.csv").open(newline="") as file:
        reals = [row["path"] for row in csv.DictReader(file) if row["label"] == "0"]
    images = np.stack([np.asarray(Image.open(faces / path)) for path in reals]) / 255
    (tmp_path / "reals").mkdir()
    for path in reals:
        shutil.copy(faces / path, tmp_path / "reals")
    inputs = f"data.inputs=folder:{tmp_path / 'reals'}"
    assert jobs.start("residual", tmp_path / "out", f"mae={mae}", inputs) == 0
    arrays = np.load(tmp_path / "out/residuals.npz")
    names = [pathlib.Path(path).name for path in reals]
    assert [pathlib.Path(str(path)).name for path in arrays["path"]] == names
    covered = BlockGrid(4, 2).covered(12)
    error = np.square(arrays["inpainted"] - images)[:, covered].mean()
    assert read_reconstruction_check(mae)["mae"] == pytest.approx(error, rel=1e-4)


def test_a_mae_that_was_never_checked_is_named(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="rffr_jax")
    assert read_reconstruction_check(tmp_path) == {}
    warn_of_weak_mae("converted", {})
    assert caplog.messages == ["mae=converted was not compared with inpainting without a network"]
