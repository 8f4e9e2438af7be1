"""Job `evaluate`: its files, its checkpoints and the rules that chose them."""

import csv
import json
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import rffr_jax
from rffr_jax.data.origins import Origins
from rffr_jax.evaluation import evaluate as module
from rffr_jax.evaluation.operating_point import OperatingPoint
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.scoring import Scorer
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.examples import Example
from tests import jobs
from tests.evaluation.test_results import DATASET, ENTRY


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
    assert set(table["faces"]) == DATASET
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
    assert about["program"]["version"] == rffr_jax.__version__
    assert about["device"].endswith(jax.devices()[0].device_kind)
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
        "source",
        "group",
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
    for name in ("roc.png", "reliability.png"):
        with Image.open(workdir / name) as picture:
            assert min(picture.size) > 200


def test_a_test_that_was_trained_on_is_named(tmp_path, detector, faces, capsys):
    table = evaluate(tmp_path, detector, f"csv:{faces}/train.csv")
    warning, images, *_ = table["about"]["warnings"]
    assert "12 training images of the detector, whatever their names" in images
    assert "6 of 6 originals in the test were seen in training (detector: 6" in warning
    assert "train/real0" in warning
    assert warning in capsys.readouterr().out


@pytest.mark.slow
def test_copies_under_other_names_are_found(tmp_path, detector, faces, capsys):
    """Training images as test images, one fake three times, and the test as validation data."""
    for folder, name in (("test", "a"), ("chosen", "b")):
        for label in ("real", "fake"):
            (tmp_path / folder / label).mkdir(parents=True)
            for number in range(4):
                kind = "rows" if label == "fake" else "real"
                source = faces / "train" / f"{kind}{number}.png"
                shutil.copy(source, tmp_path / folder / label / f"{name}{number}.png")
    for name in ("again", "once more"):
        shutil.copy(faces / "train" / "rows0.png", tmp_path / "test" / "fake" / f"{name}.png")
    flags = (f"detector={detector}", f"data.tests=folder:{tmp_path}/test")
    run = tmp_path / "run"
    assert jobs.start("evaluate", run, *flags) == 0
    warnings = json.loads((run / "results.json").read_text())["about"]["warnings"]
    assert "10 of 10 images of the test" in warnings[0]
    assert "training images of the detector, whatever their names" in warnings[0]
    assert "3 images show only 1 different pictures" in warnings[-1]
    with (run / "predictions.csv").open(newline="") as file:
        groups = {row["id"]: row["group"] for row in csv.DictReader(file)}
    assert groups["fake/again.png"] == groups["fake/once more.png"] != groups["fake/a1.png"]
    points = sorted(detector.rglob("operating_points/*"))
    assert jobs.start("evaluate", run, *flags, f"data.validation=folder:{tmp_path}/chosen") == 2
    assert "10 of 10 images of the test (the first" in capsys.readouterr().err
    assert sorted(detector.rglob("operating_points/*")) == points


@pytest.mark.slow
def test_files_that_give_the_labels_away_are_named(tmp_path, detector, capsys):
    """Case of a detector that told JPEG from PNG: reals are JPEG here."""
    jobs.draw_faces(tmp_path / "test", seed=5, reals=10)
    for number in range(10):
        file = tmp_path / "test" / f"real{number}.png"
        Image.open(file).save(file.with_suffix(".jpg"))
    table = (tmp_path / "test.csv").read_text()
    (tmp_path / "test.csv").write_text(re.sub(r"(test/real\d+)\.png", r"\1.jpg", table))
    found = evaluate(tmp_path / "run", detector, f"csv:{tmp_path}/test.csv")
    (warning,) = found["about"]["warnings"]
    assert "reals differ from fakes in file ending (AUC 100), file format (AUC 100)" in warning
    assert f"warning: {warning}" in capsys.readouterr().out


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


def test_tables_of_one_data_set_are_matched_together(tmp_path, detector, faces):
    jobs.draw_faces(tmp_path / "more", seed=9, reals=3)
    tests = repr((f"csv:{faces}/test.csv", f"csv:{tmp_path}/more.csv"))
    table = evaluate(tmp_path / "run", detector, tests, "checkpoint=matched")
    for entry in table["faces"]["methods"].values():
        assert (entry["n_real"], entry["n_fake"]) == (9, 9)


def test_scores_of_two_methods_are_not_written_to_one_file(tmp_path, detector, capsys):
    rows = [("0.png", 0, "real", "a", ""), ("1.png", 1, "b-c", "a", "")]
    rows += [("2.png", 0, "real", "a-b", ""), ("3.png", 1, "c", "a-b", "")]
    jobs.write_table(tmp_path / "x.csv", rows)
    flags = (f"detector={detector}", f"data.tests=csv:{tmp_path}/x.csv", "checkpoint=matched")
    assert jobs.start("evaluate", tmp_path / "run", *flags) == 2
    assert (
        "the scores of method 'b-c' of 'a' and of method 'c' of 'a-b' would both be "
        "predictions-a-b-c.csv; call"
    ) in capsys.readouterr().err


@pytest.mark.slow
def test_validation_data_choose_the_threshold_for_this_and_later_tests(tmp_path, detector, faces):
    detector = shutil.copytree(detector, tmp_path / "detector")
    test, chooses = f"csv:{faces}/test.csv", f"data.validation=csv:{faces}/validation.csv"
    before = evaluate(tmp_path / "before", detector, test)
    assert before["about"]["operating_point"] == OperatingPoint().to_json() | {"prevalence": 0.01}
    table = evaluate(tmp_path / "a", detector, test, chooses, "max_fpr=0.3", "prevalence=0.5")
    own = evaluate(tmp_path / "validation", detector, f"csv:{faces}/validation.csv")
    assert own["about"]["operating_point"]["chosen_on"] == []  # what chose is not tested by it
    scores = Predictions.read_csv(tmp_path / "validation" / "predictions.csv")
    point = table["about"]["operating_point"]
    image = point["thresholds"]["image"]
    assert image["value"] == sorted(scores.scores[scores.labels == 0])[-2]  # one of six above
    assert point["chosen_on"] == [chooses.partition("=")[2]]
    assert (image["n_real"], image["n_fake"]) == (6, 12)
    assert image["auc"] == own["faces"]["pooled"]["auc"]
    assert point["thresholds"]["video"] is None
    predictions = Predictions.read_csv(tmp_path / "a" / "predictions.csv")
    above = predictions.scores > image["value"]
    fpr, tpr = (above[predictions.labels == label].mean() for label in (0, 1))
    at = table["faces"]["pooled"]["at_threshold"]
    assert (at["fpr"], at["tpr"]) == (fpr, tpr)
    assert at["ppv"] == (pytest.approx(tpr / (tpr + fpr)) if tpr + fpr else None)
    assert before["faces"]["pooled"]["auc"] == table["faces"]["pooled"]["auc"]

    later = evaluate(tmp_path / "b", detector, test)
    assert later["about"]["operating_point"] == {**point, "prevalence": 0.01}
    assert later["faces"]["reliability"] == table["faces"]["reliability"]


def test_what_is_tested_must_not_choose(tmp_path, detector, faces, capsys):
    flags = (f"detector={detector}", f"data.tests=csv:{faces}/test.csv")
    for filters, message in (
        ("limit=3", "3 of 18 test images share their original or file with it, the first 'test/"),
        ("method=none", "no fakes of method 'none'"),
    ):
        spec = f"csv:{faces}/test.csv?{filters}"
        assert jobs.start("evaluate", tmp_path / "run", *flags, f"data.validation={spec}") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert not (tmp_path / "run").exists()
    spec = f"data.validation=csv:{faces}/validation.csv"
    assert jobs.start("evaluate", tmp_path / "x", *flags, spec, "checkpoint=matched") == 2
    assert "checkpoint=matched has weights of its own" in capsys.readouterr().err
    assert jobs.start("evaluate", tmp_path / "y", *flags, spec, "calibration=beta") == 2
    assert (
        "calibration='beta' is not known; choose platt, isotonic or none" in capsys.readouterr().err
    )


def test_a_threshold_that_rests_on_little_says_so(tmp_path, detector, faces):
    detector = shutil.copytree(detector, tmp_path / "detector")
    spec = f"data.validation=csv:{faces}/train.csv"
    table = evaluate(tmp_path / "run", detector, f"csv:{faces}/test.csv", spec)
    few, seen = table["about"]["warnings"]
    assert "the threshold for 1% FPR is the highest of only 6 reals" in few
    assert "an FPR of 14% is to be expected" in few
    assert "6 of 6 originals in data.validation were seen in training (detector: 6, MAE: 6)" in seen


def image(dataset, source, path=""):
    return Example(path or source, path or source, 1, dataset, "swap", source, 0, source)


class Known(TrainedDetector):
    """A detector of which nothing is there but what was written about its training."""

    def __init__(self, folder, trained="faces"):
        self._folder = folder
        self.about = {
            "trained_datasets": [trained],
            "trained_methods": ["rows"],
            "detection": {"residual": "mae"},
        }


def write_best(folder, **datasets):
    methods = {"faces_columns": ["columns"], "faces": ["columns", "rows"]}
    record = {n: {"datasets": d, "methods": methods.get(n, ["rows"])} for n, d in datasets.items()}
    (folder / "best.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("checkpoint", "tested", "rule"),
    [
        ("best:faces_rows", "faces", "source"),
        ("best:faces_columns", "faces", "oracle"),
        ("best:faces", "faces", "oracle"),
        ("best:far", "far", "oracle"),
        ("best:far", "other", "transfer"),
        ("best:far", "place/other", "unknown"),
        ("best:path", "other", "unknown"),
        ("best:path", "place/far", "oracle"),
        ("best:mixed", "other", "unknown"),
        ("last", "other", "last"),
        ("matched", "far", "oracle"),
    ],
)
def test_the_rule_says_what_the_choice_has_seen(tmp_path, checkpoint, tested, rule):
    faces = {name: ["faces"] for name in ("faces", "faces_rows", "faces_columns")}
    others = {"far": ["far"], "path": ["place/far"], "mixed": ["faces", "far"]}
    write_best(tmp_path, **faces, **others)
    assert Known(tmp_path).selection_rule(checkpoint, [image(tested, "a")]) == rule


def test_a_name_made_of_a_path_proves_no_source(tmp_path):
    write_best(tmp_path, train=["celeb/train"], validation=["celeb/validation"])
    detector = Known(tmp_path, trained="celeb/train")
    for best in ("train", "validation"):
        assert detector.selection_rule(f"best:{best}", [image("celeb/test", "a")]) == "unknown"


@pytest.mark.parametrize(
    ("training", "validation", "rule"),
    [
        ({"faces": ["1"]}, {"far": ["2"]}, "transfer"),
        ({"faces": ["1"]}, {"far": ["3"]}, "unknown"),
        ({"faces": ["3"]}, {"far": ["2"]}, "unknown"),
        ({"faces": ["1"]}, {"far": ["1"]}, "unknown"),
        ({"faces": ["1"], ":files": ["/data/3.png"]}, {"far": ["2"]}, "unknown"),
        ({"faces": ["1"]}, {"far": ["2"], ":files": ["/data/3.png"]}, "unknown"),
    ],
)
def test_no_transfer_between_data_that_are_alike(tmp_path, training, validation, rule):
    write_best(tmp_path, far=["far"])
    (tmp_path / "training_sources.json").write_text(json.dumps(training))
    (tmp_path / "validation_sources.json").write_text(json.dumps(validation))
    tested = [image("other", "3", "/data/3.png")]
    assert Known(tmp_path).selection_rule("best:far", tested) == rule


def test_what_the_detector_and_its_mae_have_seen_is_read_where_it_is(tmp_path):
    detector = Known(tmp_path)
    assert detector.trained_on() == {"detector": Origins(), "MAE": Origins()}
    (tmp_path / "mae_training_sources.json").write_text('{"x": ["1"], ":files": ["/a.png"]}')
    seen = Origins(frozenset([("x", "1")]), frozenset(["/a.png"]))
    assert detector.trained_on() == {"detector": Origins(), "MAE": seen}


def test_tables_of_one_name_stay_apart_and_one_table_twice_is_refused(
    tmp_path, detector, monkeypatch, capsys
):
    def no_copy(scorer, dataset):
        raise AssertionError("only matched checkpoints need a test set more than once")

    monkeypatch.setattr(Scorer, "prepare", no_copy)
    specs = []
    for seed, place in enumerate(("celeb", "dfdc")):
        jobs.draw_faces(tmp_path / place / "test", dataset="", seed=seed, reals=3)
        specs.append(f"csv:{tmp_path}/{place}/test.csv")
    table = evaluate(tmp_path / "run", detector, repr(tuple(specs)))
    assert set(table) == {"celeb/test", "dfdc/test", "about"}
    assert [table[f"{place}/test"]["pooled"]["n_real"] for place in ("celeb", "dfdc")] == [3, 3]

    twice = repr((f"{specs[0]}?method=rows", f"{specs[0]}?method=columns"))
    flags = (f"detector={detector}", f"data.tests={twice}")
    capsys.readouterr()
    assert jobs.start("evaluate", tmp_path / "other", *flags) == 2
    assert "dataset 'celeb/test' holds 'test/real0.png' twice" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("methods=A,B", ("A,B",)),
        ("methods=('A','B')", ("A", "B")),
        ("tests=csv:x.csv?method=A+B&frames=1", ("csv:x.csv?method=A+B&frames=1",)),
        ("tests='csv:x.csv?method=A,B'", ("csv:x.csv?method=A,B",)),
        ("tests=('csv:x.csv?method=A,B', 'folder:y')", ("csv:x.csv?method=A,B", "folder:y")),
    ],
)
def test_flags_of_the_documentation_arrive_as_written(monkeypatch, tmp_path, flag, expected):
    seen = []
    monkeypatch.setattr(module, "run", lambda config, workdir: seen.append(config.data))
    assert jobs.start("evaluate", tmp_path, f"data.{flag}") == 0
    assert seen[0][flag.partition("=")[0]] == expected


def test_a_checkpoint_that_is_not_there_is_told_before_any_work(tmp_path, detector, faces, capsys):
    tests = f"data.tests=csv:{faces}/test.csv"
    for checkpoint in ("best:celeb", "newest"):
        flags = (f"detector={detector}", tests, f"checkpoint={checkpoint}")
        assert jobs.start("evaluate", tmp_path / "run", *flags) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"checkpoint='{checkpoint}' is not in {detector}" in line
        assert "best:faces-rows" in line
    assert not (tmp_path / "run").exists()
