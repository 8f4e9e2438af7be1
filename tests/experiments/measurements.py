"""Made-up runs of an experiment, and predictions of a test set."""

import pathlib
import zlib
from collections.abc import Sequence

import numpy as np
from scipy import stats

from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import Example
from rffr_jax.experiments.run_result import RunResult


def measured(
    rng: np.random.Generator,
    columns: Sequence[str],
    *,
    trained_on: str = "F2F",
    method: str = "Ours",
    rule: str = "last",
    seeds: Sequence[int] = (0, 1, 2),
    maes: Sequence[int | None] = (0, 1),
    at: float = 0.7,
    **others: object,
) -> list[RunResult]:
    """Every detector seed with every MAE, with AUCs around `at`."""
    runs = []
    for seed in seeds:
        for mae in maes:
            aucs = {column: float(at + 0.02 * rng.normal()) for column in columns}
            halves = {column: float(rng.uniform(0.01, 0.05)) for column in columns}
            row = {
                "trained_on": trained_on,
                "method": method,
                "rule": rule,
                "seed": seed,
                "mae_seed": mae,
                "aucs": aucs,
                "intervals": {c: (aucs[c] - halves[c], aucs[c] + halves[c] / 2) for c in columns},
                "rules": dict.fromkeys(columns, rule),
                "training": pathlib.Path("training"),
                "evaluations": dict.fromkeys(columns, pathlib.Path("evaluation")),
                "autoencoder": None,
                "seconds": float(rng.uniform(1, 2)),
            }
            runs.append(RunResult(**{**row, **others}))
    return runs


def predictions(
    rng: np.random.Generator, method: str, videos: int = 12, dataset: str = "d"
) -> Predictions:
    """Reals, the same for every method, and as many fakes of one, two frames a video."""
    examples = [
        Example(f"{m}/{v}/{f}", f"{m}/{v}/{f}", int(m != "real"), dataset, m, f"{m}{v}", f, f"s{v}")
        for m in ("real", method)
        for v in range(videos)
        for f in range(2)
    ]
    return Predictions(examples, rng.uniform(size=len(examples)))


def made_up_scores(run: RunResult, column: str, people: int = 30) -> Predictions:
    """Scores with about the AUC of a run in a column, of the same people in every run."""
    name = f"{run.trained_on} {run.method} {run.rule} {run.seed} {run.mae_seed} {column}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    shift = 2**0.5 * stats.norm.ppf(run.aucs[column])
    examples = [
        Example(f"{kind}{n}", "", int(kind != "real"), "faces", kind, f"{kind}{n}", 0, f"p{n}")
        for kind in ("real", column)
        for n in range(people)
    ]
    return Predictions(examples, rng.normal(size=2 * people) + shift * np.repeat([0, 1], people))
