"""Runs of one row over seeds -> the numbers of its cells: mean, spread, 95 % interval."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from rffr_jax.evaluation.crossed_bootstrap import crossed_auc_interval
from rffr_jax.evaluation.energy_reference import detector_doubts
from rffr_jax.evaluation.reconstruction_error import doubts, error_ratio
from rffr_jax.experiments.auc_replicates import AucReplicates, arrange_trainings
from rffr_jax.experiments.run_result import RunResult, TableSpec

MEAN_ALL, MEAN_UNSEEN = "mean_all", "mean_unseen"
MEANS = {MEAN_ALL: "mean", MEAN_UNSEEN: "mean unseen"}  # their short names, in charts
THIS_TRAINING = "this training"


@dataclasses.dataclass(frozen=True, eq=False)
class RunAuc:
    """One number of one run.

    Attributes:
      auc: in [0, 1].
      redrawn: under draws of test people, the same for all runs and columns.
      interval: 95 % over test people; None where there is one.
      seed: of the detector; None for another program's.
      mae_seed: of its MAE or UNet; None where it has none.
    """

    auc: float
    redrawn: Float64[np.ndarray, " replicates"]
    interval: tuple[float, float] | None
    seed: int | None = None
    mae_seed: int | None = None


def summarise(runs: Sequence[RunAuc]) -> dict[str, Any]:
    """One cell of a table.

    Args:
      runs: every detector seed with every MAE seed, each pair once; or each with that of its own
        number.

    Returns:
      `auc`: the mean over runs. `sd`: over runs; None for one. `ci95` and `given`: as
      `mean_interval`. `runs`: `seed, mae_seed, auc` of each.
    """
    aucs = [run.auc for run in runs]
    bounds, given = mean_interval(runs)
    return {
        "auc": float(np.mean(aucs)),
        "sd": float(np.std(aucs, ddof=1)) if len(aucs) > 1 else None,
        "ci95": None if bounds is None else list(bounds),
        "given": given,
        "runs": [{"seed": r.seed, "mae_seed": r.mae_seed, "auc": r.auc} for r in runs],
    }


def mean_interval(runs: Sequence[RunAuc]) -> tuple[tuple[float, float] | None, list[str]]:
    """95 % interval of the mean over runs, for other test people and other trainings.

    It is that of `crossed_bootstrap.crossed_auc_interval`. Where all runs separate the classes,
    nothing varies, and it is the mean of the runs' intervals.

    Returns:
      (low, high), None where a run has no interval; and the trainings that it holds fixed:
      `THIS_TRAINING` for one run, else "these MAEs" and "these seeds" if they are fewer than five.
    """
    redrawn, names = arrange_trainings({(run.mae_seed, run.seed): run.redrawn for run in runs})
    mean = float(np.mean([run.auc for run in runs]))
    found = crossed_auc_interval(redrawn, mean)
    given = [name for name, fixed in zip(names, found.fixed, strict=True) if fixed and name]
    bounds = found.low, found.high
    if mean in (0, 1) or any(run.interval is None for run in runs):
        bounds = _mean_of_intervals(runs)
    return bounds, given if len(runs) > 1 else [THIS_TRAINING]


def _mean_of_intervals(runs: Sequence[RunAuc]) -> tuple[float, float] | None:
    known = [run.interval for run in runs if run.interval is not None]
    if len(known) < len(runs):
        return None
    low, high = np.mean(known, axis=0)
    return float(low), float(high)


def mean_run(runs: Sequence[RunAuc]) -> RunAuc:
    """The mean over columns of one run."""
    auc = float(np.mean([run.auc for run in runs]))
    redrawn = np.mean([run.redrawn for run in runs], axis=0)
    return RunAuc(auc, redrawn, _mean_of_intervals(runs), runs[0].seed, runs[0].mae_seed)


def unseen_columns(table: TableSpec, trained_on: str) -> tuple[str, ...]:
    """The columns whose fakes a row was not trained on, without controls."""
    left_out = {*table.seen.get(trained_on, ()), *table.controls}
    return tuple(column for column in table.columns if column not in left_out)


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
      of `mean_unseen` where there is an unseen one, each with its `rule` and with `seen`. Neither
      mean holds a control.
    """
    shown = [column for column in table.columns if column in runs]
    groups: dict[str, tuple[str, ...]] = {column: (column,) for column in shown}
    if len(shown) == len(table.columns):
        groups[MEAN_ALL] = unseen_columns(dataclasses.replace(table, seen={}), trained_on)
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


def measured_rows(
    table: TableSpec, measured: Sequence[RunResult], replicates: AucReplicates
) -> list[dict[str, Any]]:
    """One row for all runs with the same training fakes, method and rule, in the order given.

    Returns:
      `trained_on, method, rule, source, cells`, the mean `seconds` of training and
      `inference_seconds` of one image over the runs (None where nobody asked),
      `mae_error_ratio` (`reconstruction_error.error_ratio`, the highest of its MAEs; None where
      nothing says), `mae_doubts` (why a MAE should not be used, by its seed), `own_auc` and
      `reference_auc` (means over the runs of the AUC in the detector's own domain and of the
      reference's there; None where a run does not say) and `detector_doubts` (why a detector counts
      as untrained, by its seeds).
    """
    groups: dict[tuple[str, str, str], list[RunResult]] = {}
    for run in measured:
        groups.setdefault((run.trained_on, run.method, run.rule), []).append(run)
    rows = []
    for (trained_on, method, rule), members in groups.items():
        common = [c for c in table.columns if all(c in run.aucs for run in members)]
        runs = {
            column: [
                RunAuc(
                    run.aucs[column],
                    replicates.mean_aucs(run, [column])[:-1],
                    run.intervals.get(column),
                    run.seed,
                    run.mae_seed,
                )
                for run in members
            ]
            for column in common
        }
        rules = {
            column: ", ".join(unique(run.rules.get(column, rule) for run in members))
            for column in common
        }
        ratios = [error_ratio(run.mae_check) for run in members if run.mae_check]
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
                "mae_error_ratio": float(np.max(ratios)) if ratios else None,
                "mae_doubts": {
                    str(run.mae_seed): doubts(run.mae_check)
                    for run in members
                    if run.mae_check and doubts(run.mae_check)
                },
                "own_auc": _mean_of([run.detector_check.get("auc") for run in members]),
                "reference_auc": _mean_of(
                    [run.detector_check.get("reference_auc") for run in members]
                ),
                "detector_doubts": {
                    _name_seeds(run): list(detector_doubts(run.detector_check))
                    for run in members
                    if detector_doubts(run.detector_check)
                },
            }
        )
    return rows


def _mean_of(values: Sequence[Any]) -> float | None:
    return None if any(value is None for value in values) else float(np.mean(values))


def _name_seeds(run: RunResult) -> str:
    return f"{run.seed}" if run.mae_seed is None else f"{run.seed} with MAE {run.mae_seed}"


def unique(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of first appearance."""
    return list(dict.fromkeys(values))
