"""Rows of other toolkits: their scores of the very examples that ours were tested on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.errors import UserError
from rffr_jax.evaluation.bootstrap import ClusterDraws, auc_interval
from rffr_jax.evaluation.predictions import UNNAMED, Predictions
from rffr_jax.examples import Example
from rffr_jax.experiments.auc_replicates import people_of, redrawn_aucs
from rffr_jax.experiments.run_result import UNKNOWN_TRAINING, TableSpec
from rffr_jax.experiments.summary import RunAuc, row_cells

KIND = "external:"
RULE = "unknown"


def read_external(label: str, spec: str) -> Predictions:
    """The scores of another program; worth a try before anything is trained.

    Raises:
      UserError: `spec` is not `external:FILE`, or FILE is no table of predictions.
    """
    if not spec.startswith(KIND):
        raise UserError(f"row '{label}': '{spec}' is no {KIND}FILE; name a table of predictions")
    return Predictions.read_csv(spec.removeprefix(KIND))


def external_row(
    table: TableSpec, label: str, spec: str, columns: Mapping[str, Predictions]
) -> dict[str, Any]:
    """The AUC of another program on our test examples, column by column.

    Its examples are found by id, and by data set where its table says one. Which examples make a
    column, and which depend on each other, is what our predictions say.

    Args:
      table: for its columns.
      label: of the row.
      spec: `external:FILE`, a table with the columns id, dataset (its cells may be empty), label
        and score (higher = more likely fake).
      columns: our predictions of each column: reals and the column's fakes.

    Returns:
      A row as `summary.measured_rows` makes them, with source "external", nothing known of its
      training (`trained_on` "") and `extra`: how many of its examples are in no column.

    Raises:
      UserError: no such table, it lacks examples of a column, or gives them other labels.
    """
    theirs, file = read_external(label, spec), spec.removeprefix(KIND)
    found = {
        (example.dataset, example.id): (example.label, float(score))
        for example, score in zip(theirs.examples, theirs.scores, strict=True)
    }
    ours = {(e.dataset, e.id) for part in columns.values() for e in part.examples}
    _require_unique_ids(ours, found, file)
    draws = ClusterDraws(person for part in columns.values() for person in people_of(part))
    used: set[tuple[str, str]] = set()
    runs: dict[str, Sequence[RunAuc]] = {}
    for column in table.columns:
        examples = columns[column].examples
        exact = [(example.dataset, example.id) for example in examples]
        keys = [key if key in found else (UNNAMED, key[1]) for key in exact]
        _require_all(examples, [key in found for key in keys], column, file)
        _require_same_labels(examples, [found[key][0] for key in keys], file)
        part = Predictions(examples, np.array([found[key][1] for key in keys]))
        aucs = redrawn_aucs(draws, part)
        bounds = auc_interval(part.labels, part.scores, [example.cluster for example in examples])
        runs[column] = [RunAuc(float(aucs[-1]), aucs[:-1], bounds)]
        used.update(keys)
    return {
        "trained_on": "",
        "method": label,
        "rule": RULE,
        "source": "external",
        "cells": row_cells(table, "", runs, dict.fromkeys(table.columns, RULE)),
        **UNKNOWN_TRAINING,
        "extra": len(found.keys() - used),
    }


def _require_unique_ids(
    ours: set[tuple[str, str]], found: Mapping[tuple[str, str], Any], file: str
):
    """An id without a data set must be that of one of our examples only."""
    datasets: dict[str, list[str]] = {}
    for dataset, name in sorted(ours):
        if (dataset, name) not in found and (UNNAMED, name) in found:
            datasets.setdefault(name, []).append(dataset)
    unclear = [name for name, several in datasets.items() if len(several) > 1]
    if unclear:
        first = unclear[0]
        raise UserError(
            f"{file}: {len(unclear)} ids without a dataset are in several of ours, the first "
            f"'{first}' in {' and '.join(datasets[first])}; fill its column 'dataset'"
        )


def _require_all(examples: Sequence[Example], there: Sequence[bool], column: str, file: str):
    missing = [e for e, is_there in zip(examples, there, strict=True) if not is_there]
    if missing:
        raise UserError(
            f"{file}: {len(missing)} of the {len(examples)} test examples of column '{column}' are "
            f"not in it, the first '{missing[0].id}' of dataset '{missing[0].dataset}'; score "
            "exactly the examples of our predictions.csv, under the same ids"
        )


def _require_same_labels(examples: Sequence[Example], labels: Sequence[int], file: str):
    other = [e for e, label in zip(examples, labels, strict=True) if e.label != label]
    if other:
        raise UserError(
            f"{file}: {len(other)} of {len(examples)} examples have another label than in our "
            f"predictions.csv, the first '{other[0].id}' of dataset '{other[0].dataset}' "
            f"({other[0].label} here); write 0 for a real and 1 for a fake"
        )
