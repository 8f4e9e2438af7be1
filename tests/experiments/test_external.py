"""Rows of other toolkits, matched with our examples."""

import csv
import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rffr_jax.errors import UserError
from rffr_jax.evaluation.bootstrap import auc_interval
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.experiments.external import external_row
from rffr_jax.experiments.run_result import TableSpec
from tests.experiments.measurements import predictions

TABLE = TableSpec("t", "faceforensics", "t", ("swap", "warp"), {"F2F": ("warp",)}, "")


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    return {column: predictions(rng, column) for column in TABLE.columns}


def their_rows(columns, seed=1):
    """Scores of their own for each of our examples once, in another order."""
    rng = np.random.default_rng(seed)
    ours = {(e.dataset, e.id): e.label for part in columns.values() for e in part.examples}
    rows = [[dataset, i, label, rng.normal() + label] for (dataset, i), label in ours.items()]
    return [rows[place] for place in rng.permutation(len(rows))]


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "id", "label", "score"])
        writer.writerows(rows)
    return f"external:{path}"


@pytest.mark.parametrize("named", [True, False])
def test_aucs_are_those_of_the_matched_examples(tmp_path, columns, named):
    rows = their_rows(columns)
    extra = [["d", "elsewhere/1", 0, 0.3], ["d", "elsewhere/2", 1, 0.1]]
    shown = [[row[0] if named else "", *row[1:]] for row in rows + extra]
    row = external_row(TABLE, "Theirs", write(tmp_path / "p.csv", shown), columns)
    assert (row["source"], row["method"], row["extra"]) == ("external", "Theirs", 2)
    score = {name: value for _, name, _, value in rows}
    aucs = []
    for column, part in columns.items():
        scores = np.array([score[example.id] for example in part.examples])
        aucs.append(roc_auc_score(part.labels, scores))
        cell = row["cells"][column]
        assert cell["auc"] == pytest.approx(aucs[-1])
        clusters = [example.source for example in part.examples]
        expected = auc_interval(part.labels, scores, clusters)
        assert cell["ci95"] == pytest.approx(expected)
    assert row["cells"]["mean_all"]["auc"] == pytest.approx(np.mean(aucs))
    assert "mean_unseen" not in row["cells"]


def test_missing_examples_are_counted(tmp_path, columns):
    lost = [example.id for example in columns["warp"].examples if example.label == 1][4:7]
    rows = [row for row in their_rows(columns) if row[1] not in lost]
    spec = write(tmp_path / "p.csv", rows)
    with pytest.raises(UserError, match=rf"3 of the 48 .*'warp'.* first '{lost[0]}'"):
        external_row(TABLE, "Theirs", spec, columns)


def test_a_wrong_dataset_is_another_example(tmp_path, columns):
    rows = [["other", *row[1:]] for row in their_rows(columns)]
    with pytest.raises(UserError, match="48 of the 48"):
        external_row(TABLE, "Theirs", write(tmp_path / "p.csv", rows), columns)


def test_other_labels_are_refused(tmp_path, columns):
    rows = [[*row[:2], 1 - row[2], row[3]] for row in their_rows(columns)]
    first = columns["swap"].examples[0].id
    with pytest.raises(UserError, match=f"48 of 48 .*another label.* first '{first}'"):
        external_row(TABLE, "Theirs", write(tmp_path / "p.csv", rows), columns)


def test_an_id_of_two_datasets_needs_a_dataset(tmp_path, columns):
    columns["warp"] = predictions(np.random.default_rng(2), "warp", dataset="e")
    rows = their_rows(columns)
    named = external_row(TABLE, "Theirs", write(tmp_path / "named.csv", rows), columns)
    assert named["extra"] == 0
    unnamed = {row[1]: ["", *row[1:]] for row in rows}
    spec = write(tmp_path / "unnamed.csv", unnamed.values())
    with pytest.raises(UserError, match=r"24 ids without a dataset .* in d and e"):
        external_row(TABLE, "Theirs", spec, columns)


def test_our_own_predictions_are_matched(tmp_path, columns):
    """A file as `evaluate` writes it, bad ones among ours left out there as well."""
    part = columns["swap"]
    alone = dataclasses.replace(TABLE, columns=("swap",))
    file = tmp_path / "predictions.csv"
    part.write_csv(file)
    row = external_row(alone, "Ours again", f"external:{file}", {"swap": part})
    assert row["cells"]["swap"]["auc"] == pytest.approx(roc_auc_score(part.labels, part.scores))
    assert isinstance(Predictions.read_csv(file), Predictions)


@pytest.mark.parametrize("spec", ["other.csv", "external:"])
def test_a_spec_that_names_no_file(columns, spec):
    with pytest.raises(UserError, match="name a table of predictions"):
        external_row(TABLE, "Theirs", spec, columns)
