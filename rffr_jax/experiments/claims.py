"""Does one row beat another, as the paper says? Differences paired by detector seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.evaluation.bootstrap import paired_difference
from rffr_jax.experiments.run_result import Claim, RunResult, TableSpec
from rffr_jax.experiments.summary import unique, unseen_columns

HOLDS, CONTRADICTED, UNRESOLVED = "holds", "contradicted", "unresolved"
NOT_MEASURED = "not measured"
MEAN = "(mean)"

Numbers = Mapping[int, Mapping[int | None, float]]
"""AUC by detector seed, then by MAE seed."""


def check_claims(table: TableSpec, measured: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Every claim of the table under every rule that both of its rows were measured under.

    The difference better - worse is taken seed by seed, each side being the mean over its MAEs; its
    95 % interval is Student's over the detector seeds that both have. It speaks of the spread over
    seeds on these test images with these MAEs. A claim about all that the table trains on is
    judged for each and, where they are several, for the mean over them.

    Returns:
      Entries with `text, better, worse, trained_on` ("(mean)" for that mean), `column` ("" for the
      mean over the columns that were not trained on), `rule, difference, ci95` (None for one
      seed), `seeds`, `by_mae` (`mae_seed, difference` of each) and `verdict`: "holds" (the
      interval lies above 0), "contradicted" (below), "unresolved" (contains 0, or one seed), or
      "not measured" (no rule has both rows).
    """
    entries = []
    for claim in table.claims:
        judged = [
            entry
            for rule in unique(run.rule for run in measured)
            for entry in _check_under_rule(
                table, [run for run in measured if run.rule == rule], claim, rule
            )
        ]
        entries += judged or [
            {**_claim_fields(claim, claim.trained_on, ""), "seeds": 0, "by_mae": []}
            | {"difference": None, "ci95": None, "verdict": NOT_MEASURED}
        ]
    return entries


def _check_under_rule(
    table: TableSpec, measured: Sequence[RunResult], claim: Claim, rule: str
) -> list[dict[str, Any]]:
    """The claim under one rule: an entry for each training, and one for their mean."""
    wanted = [claim.trained_on] if claim.trained_on else unique(r.trained_on for r in measured)
    sides: dict[str, tuple[Numbers, Numbers]] = {}
    for trained_on in wanted:
        columns = (claim.column,) if claim.column else unseen_columns(table, trained_on)
        here = [run for run in measured if run.trained_on == trained_on]
        better, worse = (
            _aucs_by_seed([run for run in here if run.method == method], columns)
            for method in (claim.better, claim.worse)
        )
        if better.keys() & worse.keys():
            sides[trained_on] = (better, worse)
    entries = [_entry(claim, trained_on, rule, [pair]) for trained_on, pair in sides.items()]
    if len(sides) > 1:
        entries.append(_entry(claim, MEAN, rule, list(sides.values())))
    return entries


def _aucs_by_seed(runs: Sequence[RunResult], columns: Sequence[str]) -> Numbers:
    """The mean over columns of each run that has them all."""
    numbers: dict[int, dict[int | None, float]] = {}
    for run in runs:
        if columns and all(column in run.aucs for column in columns):
            mean = float(np.mean([run.aucs[column] for column in columns]))
            numbers.setdefault(run.seed, {})[run.mae_seed] = mean
    return numbers


def _entry(
    claim: Claim, trained_on: str, rule: str, sides: Sequence[tuple[Numbers, Numbers]]
) -> dict[str, Any]:
    """Sides: better and worse of each training; the mean over trainings is what is compared."""
    common = set.intersection(*(set(better) & set(worse) for better, worse in sides))
    seeds = sorted(common)
    if not seeds:
        raise ValueError(f"'{claim.text}': the trainings under rule {rule} share no seed")

    def side(number: int, mae: int | None) -> list[float]:
        return [
            float(np.mean([_auc_of_mae(pair[number][seed], mae) for pair in sides]))
            for seed in seeds
        ]

    found = paired_difference(side(0, None), side(1, None))
    by_mae = [
        {"mae_seed": mae, "difference": paired_difference(side(0, mae), side(1, mae)).mean}
        for mae in _shared_maes([pair[i][seed] for pair in sides for i in (0, 1) for seed in seeds])
    ]
    return {
        **_claim_fields(claim, trained_on, rule),
        "difference": found.mean,
        "ci95": None if found.ci95 is None else list(found.ci95),
        "seeds": found.seeds,
        "by_mae": by_mae,
        "verdict": _verdict(found.ci95),
    }


def _shared_maes(of_seeds: Sequence[Mapping[int | None, float]]) -> list[int]:
    """The seeds of the MAEs that all numbers have that come from a MAE at all."""
    sets = [{mae for mae in numbers if mae is not None} for numbers in of_seeds]
    return sorted(set.intersection(*filter(None, sets))) if any(sets) else []


def _auc_of_mae(numbers: Mapping[int | None, float], mae: int | None) -> float:
    """Of one MAE; the mean over all for None, or where the row has no MAE."""
    return numbers[mae] if mae in numbers else float(np.mean(list(numbers.values())))


def _verdict(ci95: tuple[float, float] | None) -> str:
    if ci95 is None or ci95[0] <= 0 <= ci95[1]:
        return UNRESOLVED
    return HOLDS if ci95[0] > 0 else CONTRADICTED


def _claim_fields(claim: Claim, trained_on: str, rule: str) -> dict[str, Any]:
    return {
        "text": claim.text,
        "better": claim.better,
        "worse": claim.worse,
        "trained_on": trained_on,
        "column": claim.column,
        "rule": rule,
    }
