"""Does one row beat another, as the paper says? Judged over test people and trainings."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.config import Config
from rffr_jax.evaluation.crossed_bootstrap import crossed_interval
from rffr_jax.experiments.auc_replicates import AucReplicates, Aucs, Training, arrange_trainings
from rffr_jax.experiments.grid import TestedDetector
from rffr_jax.experiments.run_result import Claim, RunResult, TableSpec
from rffr_jax.experiments.summary import unique, unseen_columns
from rffr_jax.rivals import find_rival, rival_names

HOLDS, CONTRADICTED, UNRESOLVED = "holds", "contradicted", "unresolved"
BETTER, WORSE = "better", "worse"
NOT_MEASURED, NOT_CONFIRMED = "not measured", "no confirmed ordering"
MEAN = "(mean)"
RANDOM_RIVAL = (
    "this {rival} starts from random weights, the field's from ImageNet, so the comparison is no "
    "fair one"
)


def read_claims(config: Config, points: Sequence[TestedDetector]) -> tuple[Claim, ...]:
    """The claims of an experiment, with a caveat where a row is a rival from random weights.

    Args:
      points: the detectors of its plan.
    """
    random = {point.method for point in points if _is_random_rival(point.detect.config)}
    claims = [Claim(**claim.to_dict()) for claim in config.claims.values()]
    return tuple(
        dataclasses.replace(claim, caveat=RANDOM_RIVAL.format(rival=label))
        if (label := next((row for row in (claim.worse, claim.better) if row in random), ""))
        else claim
        for claim in claims
    )


def _is_random_rival(detect: Config) -> bool:
    """Whether a training starts a rival from random weights that its paper starts from others."""
    backbone = detect.detector.backbone
    if backbone not in rival_names() or detect.detector.init or detect.init_from:
        return False
    return bool(find_rival(backbone).Detector.starts_from)


def check_claims(
    table: TableSpec, measured: Sequence[RunResult], replicates: AucReplicates
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
    entries = []
    for claim in table.claims:
        judged = [
            entry
            for rule in unique(run.rule for run in measured)
            for entry in _check_under_rule(table, measured, claim, rule, replicates)
        ]
        entries += judged or [
            _claim_fields(claim, claim.trained_on, "")
            | {"difference": None, "ci95": None, "seeds": 0, "maes": 0, "by_mae": []}
            | {"given": [], "verdict": NOT_MEASURED}
        ]
    return entries


def _check_under_rule(
    table: TableSpec,
    measured: Sequence[RunResult],
    claim: Claim,
    rule: str,
    replicates: AucReplicates,
) -> list[dict[str, Any]]:
    """The claim under one rule: an entry for each training, and one for their mean."""
    wanted = [claim.trained_on] if claim.trained_on else unique(r.trained_on for r in measured)
    sides = {}
    for trained_on in wanted:
        columns = (claim.column,) if claim.column else unseen_columns(table, trained_on)
        better, worse = (
            {
                _training(run): replicates.mean_aucs(run, columns)
                for run in measured
                if (run.trained_on, run.method, run.rule) == (trained_on, method, rule)
                and columns
                and all(column in run.aucs for column in columns)
            }
            for method in (claim.better, claim.worse)
        )
        if differences := _differences(better, worse):
            sides[trained_on] = differences
    entries = [
        _entry(claim, trained_on, rule, [one], replicates) for trained_on, one in sides.items()
    ]
    if len(sides) > 1:
        entries.append(_entry(claim, MEAN, rule, list(sides.values()), replicates))
    return entries


def _training(run: RunResult) -> Training:
    return run.mae_seed, run.seed


def _differences(
    better: Mapping[Training, Aucs], worse: Mapping[Training, Aucs]
) -> dict[Training, Aucs]:
    """Of each training that both rows have; a row without a MAE is compared with every MAE."""
    differences = {}
    for (mae, seed), aucs in better.items():
        for (other_mae, other_seed), others in worse.items():
            if seed == other_seed and (mae == other_mae or None in (mae, other_mae)):
                differences[other_mae if mae is None else mae, seed] = aucs - others
    return differences


def _entry(
    claim: Claim,
    trained_on: str,
    rule: str,
    sides: Sequence[Mapping[Training, Aucs]],
    replicates: AucReplicates,
) -> dict[str, Any]:
    """Sides: the differences of each set that was trained on; their mean is what is judged."""
    pairs = [pair for pair in sides[0] if all(pair in side for side in sides)]
    if not pairs:
        raise ValueError(f"'{claim.text}': the trainings under rule {rule} share no seed")
    of_pair = {pair: np.mean([side[pair] for side in sides], axis=0) for pair in pairs}
    maes = unique(mae for mae, _ in pairs)
    seeds = unique(seed for _, seed in pairs)
    differences, names = arrange_trainings(of_pair)
    found = crossed_interval(differences[:-1])
    ci95 = [found.low, found.high] if replicates.knows_spread else None
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
