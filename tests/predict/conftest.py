"""Scores of the job `evaluate`, and a detector with an operating point."""

import csv
import json
import shutil

import pytest

from rffr_jax.evaluation import residual_reference
from tests import jobs


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory, detector, faces):
    """The scores that `evaluate` gives the test images, by the file's name."""
    workdir = tmp_path_factory.mktemp("runs") / "evaluate"
    flags = (f"detector={detector}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", workdir, *flags) == 0
    with (workdir / "predictions.csv").open(newline="") as file:
        return {row["path"].rpartition("/")[2]: float(row["score"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory, detector, faces):
    """A copy of the detector that carries an operating point, and what was kept of it."""
    copy = tmp_path_factory.mktemp("runs") / "detect"
    shutil.copytree(detector, copy)
    flags = (f"data.tests=csv:{faces}/test.csv", f"data.validation=csv:{faces}/validation.csv")
    workdir = tmp_path_factory.mktemp("runs") / "evaluate"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(residual_reference, "MIN_FACES", 6)
        assert jobs.start("evaluate", workdir, f"detector={copy}", "max_fpr=0.4", *flags) == 0
    return copy, json.loads((copy / "operating_points/last.json").read_text())
