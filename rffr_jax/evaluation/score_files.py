"""Scores of detectors in files: workdirs of `evaluate`, and tables of any program."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from rffr_jax.errors import UserError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import FAKE
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.runs.checkpoints.names import best_checkpoint_name


@dataclasses.dataclass(frozen=True, eq=False)
class DetectorScores:
    """The scores of one detector.

    Attributes:
      predictions: of every example.
      matched: for (dataset, method) those of a checkpoint chosen for it; they replace that
        method's share of `predictions`.
    """

    predictions: Predictions
    matched: Mapping[tuple[str, str], Predictions] = dataclasses.field(default_factory=dict)


def read_scores(path: pathlib.Path, *, named: bool = True) -> tuple[DetectorScores, dict[str, Any]]:
    """The scores in a workdir of `evaluate` or in a table of predictions.

    Args:
      named: as for `Predictions.read_csv`.

    Returns:
      The scores, and their `file`, `checkpoint` and `rule` (None where they are unknown).

    Raises:
      UserError: the file does not exist, or is no table of predictions.
    """
    file = path / "predictions.csv" if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{file} does not exist; name workdirs of evaluate, or tables of predictions"
        )
    predictions = Predictions.read_csv(file, named=named)
    results = file.parent / "results.json"
    about: dict[str, Any] = {}
    if path.is_dir() and results.is_file():
        about = read_json_object(results)["about"]
    matched = {}
    if about.get("checkpoint") == "matched":
        fakes = {(e.dataset, e.method) for e in predictions.examples if e.label == FAKE}
        for dataset, method in sorted(fakes):
            own = file.parent / matched_file(dataset, method)
            matched[dataset, method] = Predictions.read_csv(own)
    made_by = {"file": str(file), **{name: about.get(name) for name in ("checkpoint", "rule")}}
    return DetectorScores(predictions, matched), made_by


def matched_file(dataset: str, method: str) -> str:
    """Name of the file with the scores of the checkpoint that was chosen for a method."""
    return f"predictions-{best_checkpoint_name(dataset, method)}.csv"


def describe_scores(name: str, made_by: Mapping[str, Any]) -> str:
    """Which checkpoint made the scores of `read_scores`, and which rule chose it."""
    if not made_by["rule"]:
        return f"{name}: nothing says which rule chose the checkpoint"
    return f"{name}: checkpoint {made_by['checkpoint']}, chosen by rule: {made_by['rule']}"
