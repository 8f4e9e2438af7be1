"""Job `evaluate`: its files, its checkpoints and the rules that chose them."""

import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from rffr_jax.data.examples import Example
from rffr_jax.evaluation.evaluate import TrainedDetector
from rffr_jax.evaluation.predictions import Predictions
from tests import jobs

ENTRY = {
    "auc",
    "auc_ci95",
    "ap",
    "eer",
    "accuracy",
    "tpr_at_fpr_1e-2",
    "video_auc",
    "n_real",
    "n_fake",
    "n_bad",
}


def evaluate(workdir, detector, tests, *flags):
    code = jobs.start("evaluate", workdir, f"detector={detector}", f"data.tests={tests}", *flags)
    assert code == 0
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, detector, faces):
    workdir = tmp_path_factory.mktemp("runs") / "evaluate"
    return workdir, evaluate(workdir, detector, f"csv:{faces}/test.csv")


def test_results_hold_what_is_promised(finished):
    workdir, table = finished
    assert set(table) == {"faces", "about"}
    assert set(table["faces"]) == {"pooled", "methods", "mean_all", "mean_unseen"}
    assert set(table["faces"]["methods"]) == {"rows", "columns"}
    for entry in (table["faces"]["pooled"], *table["faces"]["methods"].values()):
        assert set(entry) == ENTRY
    assert table["faces"]["mean_unseen"] == table["faces"]["methods"]["columns"]["auc"]
    about = table["about"]
    assert (about["rule"], about["checkpoint"]) == ("last", "last")
    assert about["trained_methods"] == ["rows"]
    assert about["preprocessing"]["model"]["image_size"] == jobs.SIZE
    assert about["preprocessing"]["k"] == 2
    assert about["versions"]["jax"] == jax.__version__
    assert (workdir / "config.json").exists()


def test_every_record_is_counted_once_and_against_all_reals(finished, faces):
    workdir, table = finished
    with (workdir / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "id",
        "path",
        "dataset",
        "method",
        "video",
        "frame",
        "label",
        "score",
    ]
    with (faces / "test.csv").open(newline="") as file:
        listed = sorted(row["path"] for row in csv.DictReader(file))
    assert [row["id"] for row in rows] == listed
    assert len(listed) == 18
    scores = np.array([float(row["score"]) for row in rows])
    assert ((scores >= 0) & (scores <= 1)).all()
    for method, entry in table["faces"]["methods"].items():
        part = [row["method"] in ("real", method) for row in rows]
        labels = np.array([int(row["label"]) for row in rows])[part]
        assert entry["auc"] == pytest.approx(roc_auc_score(labels, scores[part]))
        assert (entry["n_real"], entry["n_fake"], entry["n_bad"]) == (6, 6, 0)
    with Image.open(workdir / "roc.png") as picture:
        assert min(picture.size) > 200


def test_a_test_that_was_trained_on_is_named(tmp_path, detector, faces, capsys):
    table = evaluate(tmp_path, detector, f"csv:{faces}/train.csv")
    (warning,) = table["about"]["warnings"]
    assert "6 of 6 originals in the test were seen in training" in warning
    assert "train/real0" in warning
    assert warning in capsys.readouterr().out


def test_a_bad_file_is_left_out_counted_and_named(tmp_path, detector):
    jobs.draw_faces(tmp_path / "test", seed=2)
    (tmp_path / "test" / "rows1.png").write_bytes(b"")
    spec = f"csv:{tmp_path}/test.csv"
    table = evaluate(tmp_path / "run", detector, spec, "data.max_bad_fraction=0.1")
    counts = {m: (e["n_fake"], e["n_bad"]) for m, e in table["faces"]["methods"].items()}
    assert counts == {"rows": (5, 1), "columns": (6, 0)}
    assert table["about"]["bad"] == {"faces": {"test/rows1.png": "the file is empty"}}


def test_the_best_of_each_method_is_matched_to_it(tmp_path, detector, faces):
    table = evaluate(tmp_path, detector, f"csv:{faces}/test.csv", "checkpoint=matched")
    assert (table["about"]["rule"], table["about"]["checkpoint"]) == ("oracle", "matched")
    for method in ("rows", "columns"):
        with (tmp_path / f"predictions-faces-{method}.csv").open(newline="") as file:
            assert {row["method"] for row in csv.DictReader(file)} == {"real", method}


@pytest.mark.parametrize(
    ("checkpoint", "tested", "rule"),
    [
        ("best:faces-rows", "faces", "source"),
        ("best:faces-columns", "faces", "oracle"),
        ("best:faces", "faces", "oracle"),
        ("best:far", "far", "oracle"),
        ("best:far", "other", "transfer"),
        ("last", "other", "last"),
        ("matched", "far", "oracle"),
    ],
)
def test_the_rule_says_what_the_choice_has_seen(checkpoint, tested, rule):
    class Chosen(TrainedDetector):
        def __init__(self):
            self.about = {"trained_datasets": ["faces"], "trained_methods": ["rows"]}

        def _best(self):
            return {
                "faces": {"datasets": ["faces"], "methods": ["columns", "rows"]},
                "faces-rows": {"datasets": ["faces"], "methods": ["rows"]},
                "faces-columns": {"datasets": ["faces"], "methods": ["columns"]},
                "far": {"datasets": ["far"], "methods": ["swap"]},
            }

    example = Example("a", "a", 1, tested, "swap", "a", 0, "a")
    predictions = Predictions([example], np.array([0.5]))
    assert Chosen().selection_rule(checkpoint, predictions) == rule


def test_a_checkpoint_that_is_not_there_is_told_before_any_work(tmp_path, detector, faces, capsys):
    tests = f"data.tests=csv:{faces}/test.csv"
    for checkpoint in ("best:celeb", "newest"):
        flags = (f"detector={detector}", tests, f"checkpoint={checkpoint}")
        assert jobs.start("evaluate", tmp_path / "run", *flags) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"checkpoint='{checkpoint}' is not in {detector}" in line
        assert "best:faces-rows" in line
    assert not (tmp_path / "run").exists()
