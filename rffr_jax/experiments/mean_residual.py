"""Job `mean_residual`: the mean |residual| of an image as its score, without a classifier."""

import pathlib
from collections.abc import Iterable

import numpy as np

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config
from rffr_jax.evaluation.evaluate import load_test_sets, write_results
from rffr_jax.evaluation.predictions import Predictions, concatenate
from rffr_jax.evaluation.scoring import PreparedSet
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.workdir import locked_workdir, write_config


def run(config: Config, workdir: pathlib.Path):
    """Writes what the job `evaluate` does, of the residuals that a trained detector reads."""
    detector = TrainedDetector(folder_of_model(config.detector, "detector"), make_mesh(), config)
    with locked_workdir(workdir):
        write_config(workdir, config)
        prepared = [detector.scorer.prepare(test) for test in load_test_sets(config)]
        scores = concatenate([mean_residuals(test, detector.alpha) for test in prepared])
        write_results(detector, config.checkpoint, scores, workdir)


def mean_residuals(prepared: PreparedSet, alpha: float) -> Predictions:
    """Mean |residual| over the covered area of every image that can be read, in [0, 1]."""
    examples, scores = [], []
    for batch in prepared.batches():
        for row in np.flatnonzero(batch["weight"] > 0):
            examples.append(prepared.dataset.examples[batch["index"][row]])
            residual = np.clip(alpha * batch["difference"][row].astype(np.float32), -1.0, 1.0)
            scores.append(float(np.abs(residual).mean()))
    return Predictions(examples, np.array(scores, np.float64), prepared.bad)


def describe_mean_residuals(tests: Iterable[Predictions]) -> str:
    """The mean over test sets of each method's mean |residual|, in words, reals first."""
    means: dict[str, list[float]] = {}
    for test in tests:
        methods = np.array([example.method for example in test.examples])
        for method in sorted({*methods}):
            means.setdefault(method, []).append(float(test.scores[methods == method].mean()))
    real = float(np.mean(means.pop("real")))
    fakes = [(method, float(np.mean(values))) for method, values in means.items()]
    shown = [f"{method} {mean:.4f} ({mean / real:.2f} x real)" for method, mean in fakes]
    return ", ".join([f"mean |residual|: real {real:.4f}", *shown])
