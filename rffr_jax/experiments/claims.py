"""Does one row beat another, as the paper says? Judged over test people and trainings."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from rffr_jax.evaluation.bootstrap import REPLICATES, weighted_aucs
from rffr_jax.evaluation.crossed_bootstrap import ClusterDraws, crossed_interval
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.experiments.run_result import Claim, RunResult, TableSpec
from rffr_jax.experiments.summary import unique, unseen_columns

HOLDS, CONTRADICTED, UNRESOLVED = "holds", "contradicted", "unresolved"
BETTER, WORSE = "better", "worse"
NOT_MEASURED, NOT_CONFIRMED = "not measured", "no confirmed ordering"
MEAN = "(mean)"

ReadScores = Callable[[RunResult, str], Predictions]
"""The scores of a run that its AUC in a column is of."""
Pair = tuple[int | None, int]  # seeds of a MAE and of a detector
Aucs = Float64[np.ndarray, " replicates_and_one"]
"""Under each draw of test people; the last is that of all people, once each."""


def check_claims(
    table: TableSpec,
    measured: Sequence[RunResult],
    read_scores: ReadScores,
    *,
    replicates: int = REPLICATES,
) -> list[dict[str, Any]]:
    """Every claim of the table under every rule that both of its rows were measured under.

    The difference better - worse is taken within each training (a detector seed with a MAE), of
    the mean AUC over columns, then averaged; its 95 % interval is that of
    `evaluation.crossed_bootstrap`. A claim about all that the table trains on is judged for each
    and, where they are several, for the mean over them.

    Returns:
      Entries with `text, better, worse, trained_on` ("(mean)" for that mean), `column` ("" for the
      mean over the columns that were not trained on), `rule, difference, ci95`, `seeds` and `maes`
      (how many; no MAE counts as none), `by_mae` (`mae_seed, difference` of each), `given` (what
      the interval holds fixed, as they are fewer than five: "these MAEs", "these seeds") and
      `verdict`: "holds" (the interval lies above 0), "contradicted" (below), "unresolved" (contains
      0), "no confirmed ordering" (the claim has a caveat), or "not measured" (no rule has both
      rows). Where something is held fixed it is only "better" or "worse", "given" that.
    """
    if not table.claims:
        return []
    judge = _Judge(measured, read_scores, replicates)
    entries = []
    for claim in table.claims:
        judged = [
            entry
            for rule in unique(run.rule for run in measured)
            for entry in _check_under_rule(table, measured, claim, rule, judge)
        ]
        entries += judged or [
            _claim_fields(claim, claim.trained_on, "")
            | {"difference": None, "ci95": None, "seeds": 0, "maes": 0, "by_mae": []}
            | {"given": [], "verdict": NOT_MEASURED}
        ]
    return entries


def _check_under_rule(
    table: TableSpec, measured: Sequence[RunResult], claim: Claim, rule: str, judge: "_Judge"
) -> list[dict[str, Any]]:
    """The claim under one rule: an entry for each training, and one for their mean."""
    wanted = [claim.trained_on] if claim.trained_on else unique(r.trained_on for r in measured)
    sides = {}
    for trained_on in wanted:
        columns = (claim.column,) if claim.column else unseen_columns(table, trained_on)
        better, worse = (
            {
                (run.mae_seed, run.seed): judge.mean_aucs(run, columns)
                for run in measured
                if (run.trained_on, run.method, run.rule) == (trained_on, method, rule)
                and columns
                and all(column in run.aucs for column in columns)
            }
            for method in (claim.better, claim.worse)
        )
        if differences := _differences(better, worse):
            sides[trained_on] = differences
    entries = [_entry(claim, trained_on, rule, [one], judge) for trained_on, one in sides.items()]
    if len(sides) > 1:
        entries.append(_entry(claim, MEAN, rule, list(sides.values()), judge))
    return entries


def _differences(better: Mapping[Pair, Aucs], worse: Mapping[Pair, Aucs]) -> dict[Pair, Aucs]:
    """Of each training that both rows have; a row without a MAE is compared with every MAE."""
    differences = {}
    for (mae, seed), aucs in better.items():
        for (other_mae, other_seed), others in worse.items():
            if seed == other_seed and (mae == other_mae or None in (mae, other_mae)):
                differences[other_mae if mae is None else mae, seed] = aucs - others
    return differences


def _entry(
    claim: Claim, trained_on: str, rule: str, sides: Sequence[Mapping[Pair, Aucs]], judge: "_Judge"
) -> dict[str, Any]:
    """Sides: the differences of each set that was trained on; their mean is what is judged."""
    pairs = [pair for pair in sides[0] if all(pair in side for side in sides)]
    if not pairs:
        raise ValueError(f"'{claim.text}': the trainings under rule {rule} share no seed")
    of_pair = {pair: np.mean([side[pair] for side in sides], axis=0) for pair in pairs}
    maes = unique(mae for mae, _ in pairs)
    seeds = unique(seed for _, seed in pairs)
    if maes == seeds and len(pairs) == len(seeds) > 1:  # every seed has a MAE of its own
        grid, names = [[of_pair[pair]] for pair in pairs], ["these MAEs", ""]
    else:
        grid = [[of_pair[mae, seed] for seed in seeds] for mae in maes]
        names = ["" if maes == [None] else "these MAEs", "these seeds"]
    differences = np.moveaxis(np.array(grid), -1, 0)
    found = crossed_interval(differences[:-1])
    ci95 = [found.low, found.high] if judge.knows_spread else None
    given = [name for name, fixed in zip(names, found.fixed, strict=True) if fixed and name]
    return _claim_fields(claim, trained_on, rule) | {
        "difference": float(differences[-1].mean()),
        "ci95": ci95,
        "seeds": len(seeds),
        "maes": len([mae for mae in maes if mae is not None]),
        "by_mae": [
            {
                "mae_seed": mae,
                "difference": float(np.mean([of_pair[p][-1] for p in pairs if p[0] == mae])),
            }
            for mae in maes
            if mae is not None
        ],
        "given": given,
        "verdict": NOT_CONFIRMED if claim.caveat else _verdict(ci95, given),
    }


def _verdict(ci95: Sequence[float] | None, given: Sequence[str]) -> str:
    if ci95 is None or ci95[0] <= 0 <= ci95[1]:
        return UNRESOLVED
    if given:
        return f"{BETTER if ci95[0] > 0 else WORSE} given {' and '.join(given)}"
    return HOLDS if ci95[0] > 0 else CONTRADICTED


def _claim_fields(claim: Claim, trained_on: str, rule: str) -> dict[str, Any]:
    return dataclasses.asdict(claim) | {"trained_on": trained_on, "rule": rule}


class _Judge:
    """AUCs of runs under the same draws of test people, each computed once."""

    def __init__(self, measured: Sequence[RunResult], read_scores: ReadScores, replicates: int):
        self._scores = read_scores
        self._aucs: dict[tuple[int, str], Aucs] = {}
        people = {
            (example.dataset, example.cluster)
            for run in measured
            for column in run.aucs
            for example in read_scores(run, column).examples
        }
        self._draws = ClusterDraws(sorted(people), replicates=replicates)
        self.knows_spread = len(people) > 1

    def mean_aucs(self, run: RunResult, columns: Iterable[str]) -> Aucs:
        """The mean over columns."""
        return np.mean([self._column(run, column) for column in columns], axis=0)

    def _column(self, run: RunResult, column: str) -> Aucs:
        key = id(run), column
        if key not in self._aucs:
            found = self._scores(run, column)
            people = [(example.dataset, example.cluster) for example in found.examples]
            drawn = self._draws.aucs(found.labels, found.scores, people)
            once = np.ones((len(people), 1))
            all_people = weighted_aucs(found.labels, found.scores, once)
            self._aucs[key] = np.append(drawn, all_people)
        return self._aucs[key]
