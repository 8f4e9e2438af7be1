"""Runs of one row over seeds -> the numbers of its cells: mean, spread, 95 % interval."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from rffr_jax.evaluation.bootstrap import CONFIDENCE
from rffr_jax.experiments.run_result import RunResult, TableSpec

MEAN_ALL, MEAN_UNSEEN = "mean_all", "mean_unseen"
MEANS = {MEAN_ALL: "mean", MEAN_UNSEEN: "mean unseen"}  # their short names, in charts


@dataclasses.dataclass(frozen=True)
class RunAuc:
    """One number of one run.

    Attributes:
      auc: in [0, 1].
      interval: 95 % over clusters of test images; None where nothing says.
      seed: of the detector; None for another program's.
      mae_seed: of its MAE or UNet; None where it has none.
    """

    auc: float
    interval: tuple[float, float] | None
    seed: int | None = None
    mae_seed: int | None = None


def summarise(runs: Sequence[RunAuc]) -> dict[str, Any]:
    """One cell of a table.

    Args:
      runs: every detector seed with every MAE seed, each pair once; or each with that of its own
        number.

    Returns:
      `auc`: the mean over runs. `sd`: over runs; None for one. `ci95`: `interval(runs)`. `runs`:
      `seed, mae_seed, auc` of each. `by_mae`: `mae_seed, auc` (the mean) of each MAE, because few
      MAEs give no interval of their own.
    """
    aucs = [run.auc for run in runs]
    bounds = mean_interval(runs)
    return {
        "auc": float(np.mean(aucs)),
        "sd": float(np.std(aucs, ddof=1)) if len(aucs) > 1 else None,
        "ci95": None if bounds is None else list(bounds),
        "runs": [{"seed": r.seed, "mae_seed": r.mae_seed, "auc": r.auc} for r in runs],
        "by_mae": [
            {"mae_seed": mae, "auc": float(np.mean([r.auc for r in runs if r.mae_seed == mae]))}
            for mae in unique(run.mae_seed for run in runs)
        ],
    }


def mean_interval(runs: Sequence[RunAuc]) -> tuple[float, float] | None:
    """95 % interval of the mean, over detector seeds and over test images.

    With n > 1 detector seeds, whose numbers are means over their MAEs with standard deviation s,

        half^2 = (t_{n-1} s / sqrt(n))^2 + (mean half-width of the bootstrap over test clusters)^2

    around the mean, cut to [0, 1]. With one seed it is only the bootstrap's. How MAEs differ is in
    neither.

    Returns:
      (low, high); None where a run has no interval over test clusters.
    """
    bounds = [run.interval for run in runs]
    known = [pair for pair in bounds if pair is not None]
    if len(known) < len(bounds):
        return None
    low, high = np.mean(known, axis=0)
    seeds = unique(run.seed for run in runs)
    if len(seeds) == 1:
        return float(low), float(high)
    means = [np.mean([run.auc for run in runs if run.seed == seed]) for seed in seeds]
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(seeds) - 1)
    over_seeds = quantile * np.std(means, ddof=1) / math.sqrt(len(seeds))
    half = math.hypot(over_seeds, (high - low) / 2)
    middle = np.mean(means)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def mean_run(runs: Sequence[RunAuc]) -> RunAuc:
    """The mean over columns of one run.

    Its interval is the mean of the columns' intervals: as wide as if all columns erred together,
    so never too narrow for it.
    """
    known = [run.interval for run in runs if run.interval is not None]
    bounds = None
    if len(known) == len(runs):
        low, high = np.mean(known, axis=0)
        bounds = float(low), float(high)
    auc = float(np.mean([run.auc for run in runs]))
    return RunAuc(auc, bounds, runs[0].seed, runs[0].mae_seed)


def unseen_columns(table: TableSpec, trained_on: str) -> tuple[str, ...]:
    """The columns whose fakes a row was not trained on."""
    return tuple(c for c in table.columns if c not in table.seen.get(trained_on, ()))


def row_cells(
    table: TableSpec,
    trained_on: str,
    runs: Mapping[str, Sequence[RunAuc]],
    rules: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """The cells of one row, means over columns included.

    Args:
      table: for its columns, and for those that were seen.
      trained_on: label of the row's fakes; '' where nobody knows, which gives no `mean_unseen`.
      runs: of each column, the same pairs of seeds in the same order.
      rules: how the weights were chosen for each column.

    Returns:
      `summarise` of each column of `runs`, of `mean_all` where it has all columns of the table, and
      of `mean_unseen` where there is an unseen one, each with its `rule` and with `seen`.
    """
    shown = [column for column in table.columns if column in runs]
    groups: dict[str, tuple[str, ...]] = {column: (column,) for column in shown}
    if len(shown) == len(table.columns):
        groups[MEAN_ALL] = table.columns
        unseen = unseen_columns(table, trained_on)
        if trained_on and unseen:
            groups[MEAN_UNSEEN] = unseen
    seen = table.seen.get(trained_on, ())
    return {
        name: {
            **summarise([mean_run(same) for same in zip(*(runs[c] for c in group), strict=True)]),
            "rule": ", ".join(unique(rules[column] for column in group)),
            "seen": name in seen,
        }
        for name, group in groups.items()
    }


def measured_rows(table: TableSpec, measured: Sequence[RunResult]) -> list[dict[str, Any]]:
    """One row for all runs with the same training fakes, method and rule, in the order given.

    Returns:
      `trained_on, method, rule, source, cells`, and the mean `seconds` of training and
      `inference_seconds` of one image over the runs (None where nobody asked).
    """
    groups: dict[tuple[str, str, str], list[RunResult]] = {}
    for run in measured:
        groups.setdefault((run.trained_on, run.method, run.rule), []).append(run)
    rows = []
    for (trained_on, method, rule), members in groups.items():
        common = [c for c in table.columns if all(c in run.aucs for run in members)]
        runs = {
            column: [
                RunAuc(run.aucs[column], run.intervals.get(column), run.seed, run.mae_seed)
                for run in members
            ]
            for column in common
        }
        rules = {
            column: ", ".join(unique(run.rules.get(column, rule) for run in members))
            for column in common
        }
        times = [r.inference_seconds for r in members if r.inference_seconds is not None]
        rows.append(
            {
                "trained_on": trained_on,
                "method": method,
                "rule": rule,
                "source": "measured",
                "cells": row_cells(table, trained_on, runs, rules),
                "seconds": float(np.mean([run.seconds for run in members])),
                "inference_seconds": float(np.mean(times)) if times else None,
            }
        )
    return rows


def unique(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of first appearance."""
    return list(dict.fromkeys(values))
