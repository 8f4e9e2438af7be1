"""Job `predict`: what it writes about a person's own files, on crops that are given."""

import csv
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from rffr_jax.predict.predictions_file import CSV_COLUMNS
from tests import jobs

ANY = ("faces=given", "darkest=0", "least_sharpness=0")


def predict(workdir, detector, inputs, *flags):
    code = jobs.start("predict", workdir, f"detector={detector}", f"inputs={inputs}", *flags)
    assert code == 0
    return json.loads((workdir / "predictions.json").read_text())


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, detector, faces):
    """The scores that `evaluate` gives the test images, by the file's name."""
    workdir = tmp_path_factory.mktemp("runs") / "evaluate"
    flags = (f"detector={detector}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", workdir, *flags) == 0
    with (workdir / "predictions.csv").open(newline="") as file:
        return {row["path"].rpartition("/")[2]: float(row["score"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, detector, faces):
    workdir = tmp_path_factory.mktemp("runs") / "predict"
    return workdir, predict(workdir, detector, faces / "test", *ANY)


def test_scores_are_those_of_evaluate(finished, evaluated):
    _, said = finished
    scores = {file["path"].rpartition("/")[2]: file["score"] for file in said["files"]}
    assert scores == pytest.approx(evaluated, abs=2e-6)
    for file in said["files"]:
        assert file["status"] == ("fake" if file["score"] > 0.5 else "real")
        ((frame,),) = [face["frames"] for face in file["faces"]]
        assert frame["score"] == file["score"]


def test_predictions_hold_what_is_promised(finished, detector):
    workdir, said = finished
    assert said["schema"] == 1
    assert said["detector"]["path"] == str(detector)
    assert said["detector"]["trained_methods"] == ["rows"]
    assert said["threshold"] == {
        "value": 0.5, "from": "default", "max_fpr": None, "chosen_on": None,
    }  # fmt: skip
    assert said["preprocessing"]["k"] == 2
    assert said["preprocessing"]["faces"]["faces"] == "given"
    assert "--config.faces=given" in said["command"]
    assert said["counts"] == {"real": 18 - sum(f["status"] == "fake" for f in said["files"])} | {
        "fake": sum(f["status"] == "fake" for f in said["files"]), "unknown": 0,
    }  # fmt: skip
    for file in said["files"]:
        with open(file["path"], "rb") as image:
            assert file["sha256"] == hashlib.sha256(image.read()).hexdigest()
        assert file["source"] == {"kind": "image", "codec": "png", "width": 48, "height": 48}
        (face,) = file["faces"]
        with Image.open(workdir / face["evidence"]) as picture:
            assert picture.width > 5 * 192
    with (workdir / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["path"] for row in rows] == [file["path"] for file in said["files"]]
    assert [float(row["face_score"]) for row in rows] == [f["score"] for f in said["files"]]


def test_scores_do_not_depend_on_batches(tmp_path, detector, faces, finished):
    one = predict(tmp_path / "one", detector, faces / "test", *ANY, "batch_size=1")
    _, said = finished
    expected = [file["score"] for file in said["files"]]
    assert [file["score"] for file in one["files"]] == pytest.approx(expected, abs=2e-6)


def test_threshold_of_the_command_line_decides(tmp_path, detector, faces, finished):
    _, said = finished
    middle = float(np.median([file["score"] for file in said["files"]]))
    other = predict(tmp_path / "other", detector, faces / "test", *ANY, f"threshold={middle}")
    assert other["threshold"] | {"max_fpr": None} == {
        "value": middle, "from": "config", "max_fpr": None, "chosen_on": None,
    }  # fmt: skip
    for file in other["files"]:
        assert file["status"] == ("fake" if file["score"] > middle else "real")
    assert {file["status"] for file in other["files"]} == {"real", "fake"}
