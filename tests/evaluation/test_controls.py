"""Job `controls`: what a detector reacts to."""

import json
import shutil

import numpy as np
import pytest

from rffr_jax.command import entry
from rffr_jax.data.self_blending.controls import BRIGHTNESS, CONTROLS
from rffr_jax.errors import UserError
from rffr_jax.evaluation import metrics
from rffr_jax.evaluation.controls import (
    format_reactions,
    named_backbones,
    named_detectors,
    reactions,
)
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import FAKE, REAL, Example
from tests import jobs

REALS = "data.reals=synthetic:0#test?limit=8"


def example(person: int, control: str = "") -> Example:
    name = f"person{person}"
    label, method = (FAKE, control) if control else (REAL, "real")
    return Example(f"{name}#{control}", name, label, "faces", method, name, 0, name)


def predictions(rng, *, reacts_to: str = "", people: int = 40) -> Predictions:
    examples = [example(person, control) for person in range(people) for control in ("", *CONTROLS)]
    scores = rng.normal(0, 1, len(examples))
    scores += [2.0 * (e.method == reacts_to) for e in examples]
    return Predictions(examples, scores).ordered()


def test_a_reaction_is_found_and_its_absence_too():
    rng = np.random.default_rng(3)
    trainings = [predictions(rng, reacts_to=BRIGHTNESS) for _ in range(5)]
    rows = reactions({"five": trainings, "one": trainings[:1]})
    assert [(row["detector"], row["control"]) for row in rows] == [
        (name, control) for name in ("five", "one") for control in CONTROLS
    ]
    for row in rows:
        assert row["fixed"] == (row["detector"] == "one")
        low, high = row["auc_ci95"]
        assert low < row["auc"] < high
        assert row["change_ci95"][0] < row["change"] < row["change_ci95"][1]
        if row["control"] == BRIGHTNESS:
            assert low > 0.7
            assert row["change"] == pytest.approx(2, abs=0.6)
        elif row["detector"] == "five":
            assert low < 0.5 < high
        assert (row["n_real"], row["n_control"], row["n_clusters"]) == (40, 40, 40)


def test_each_row_says_what_its_intervals_are_over():
    rng = np.random.default_rng(6)
    trainings = [predictions(rng) for _ in range(5)]
    rows = reactions({"five": trainings, "one": trainings[:1]})
    about = {"checkpoint": "last", "rules": {}, "landmarks": {}, "bad": {}, "note": ""}
    about |= {"overlaps": {"runs/a": ["dataset 'faces': 3 of 40 originals were seen"]}}
    text = format_reactions(rows, about)
    assert "five: trainings 5, intervals of 95 % crossed over people" in text
    assert "one: trainings 1, intervals of 95 % over people or videos, given these" in text
    assert "runs/a: dataset 'faces': 3 of 40 originals were seen" in text


def test_numbers_are_means_over_trainings():
    rng = np.random.default_rng(4)
    trainings = [predictions(rng) for _ in range(2)]
    for row in reactions({"two": trainings}):
        aucs, changes = [], []
        for found in trainings:
            mine = [e.label == REAL or e.method == row["control"] for e in found.examples]
            labels, scores = found.labels[mine], found.scores[mine]
            aucs.append(metrics.auc(labels, scores))
            changes.append(scores[labels == FAKE].mean() - scores[labels == REAL].mean())
        assert row["auc"] == pytest.approx(np.mean(aucs))
        assert row["change"] == pytest.approx(np.mean(changes))


def test_one_person_has_no_interval():
    one = predictions(np.random.default_rng(5), people=1)
    assert all(row["auc_ci95"] is row["change_ci95"] is None for row in reactions({"x": [one]}))


def test_names_of_rows():
    rows = named_detectors("RFFR=runs/a,RFFR=runs/b,runs/c")
    assert rows == {"RFFR": ["runs/a", "runs/b"], "runs/c": ["runs/c"]}
    for text, match in (
        ("", "not DIR or NAME=DIR"),
        ("RFFR=", "not DIR or NAME=DIR"),
        ("x=runs/a,runs/a", "names runs/a twice"),
    ):
        with pytest.raises(UserError, match=match):
            named_detectors(text)


def test_backbones_of_rows():
    rows = ("RFFR", "plain")
    assert named_backbones("", rows) == {"RFFR": "", "plain": ""}
    assert named_backbones("weights/a", rows) == {"RFFR": "weights/a", "plain": "weights/a"}
    assert named_backbones("plain=weights/b", rows) == {"RFFR": "", "plain": "weights/b"}
    for text in ("other=weights/a", "RFFR="):
        with pytest.raises(UserError, match=r"is not NAME=DIR of a row; .* are RFFR, plain"):
            named_backbones(text, rows)


def test_reals_of_the_training_are_named_in_one_line(tmp_path, detector, caplog):
    record = {"synthetic": ["synthetic:0#test/real/00001"]}
    for name, model in (
        ("training_sources.json", "detector"),
        ("mae_training_sources.json", "MAE"),
    ):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(detector, tmp_path / "copy")
        (tmp_path / "copy" / name).write_text(json.dumps(record))
        caplog.clear()
        flags = (f"detectors={tmp_path}/copy", REALS)
        assert jobs.start("controls", tmp_path / f"run_{model}", *flags) == 0
        (said,) = (r.getMessage() for r in caplog.records if "seen in training" in r.getMessage())
        assert f"1 of 4 originals in the test were seen in training ({model}: 1)" in said
        text = (tmp_path / f"run_{model}" / "controls.md").read_text()
        assert said in text


def test_a_model_folder_says_that_its_originals_are_unknown(tmp_path, detector, capsys):
    entry.run(["export-model", str(detector), str(tmp_path / "model")])
    assert jobs.start("controls", tmp_path / "run", f"detectors={tmp_path}/model", REALS) == 0
    text = (tmp_path / "run" / "controls.md").read_text()
    assert f"{tmp_path}/model: a model folder does not say which originals were seen" in text


def test_the_job_writes_a_table(tmp_path, detector, capsys):
    shutil.copytree(detector, tmp_path / "again")
    names = f"detectors=RFFR={detector},plain={tmp_path}/again"
    assert jobs.start("controls", tmp_path / "run", names, REALS) == 0
    found = json.loads((tmp_path / "run" / "controls.json").read_text())
    assert len(found["rows"]) == 2 * len(CONTROLS)
    ours, others = found["rows"][: len(CONTROLS)], found["rows"][len(CONTROLS) :]
    for row, same in zip(ours, others, strict=True):
        assert row["auc"] == same["auc"]
        assert row["n_real"] == row["n_control"] > 1
    text = (tmp_path / "run" / "controls.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "given these trainings" in text
    assert "note: " in text


def test_a_mistake_is_one_line(tmp_path, detector, faces, capsys):
    for flags, words in (
        ((f"detectors={tmp_path}/missing", REALS), "missing"),
        ((f"detectors={detector}", f"data.reals=csv:{faces}/test.csv"), "no landmarks are known"),
    ):
        assert jobs.start("controls", tmp_path / "run", *flags) == 2
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert words in line
        assert not (tmp_path / "run" / "controls.json").exists()
