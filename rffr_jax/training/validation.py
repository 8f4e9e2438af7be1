"""Validation sets of a detector training, and the checkpoints that were best on each of them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import PyTree

from rffr_jax.cluster import processes
from rffr_jax.data.preparations import check_same_preparation
from rffr_jax.data.specs import as_tuple, load_dataset
from rffr_jax.errors import UserError
from rffr_jax.evaluation import metrics
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.results import select_method_and_reals
from rffr_jax.evaluation.scoring import PreparedSet, Scorer
from rffr_jax.examples import FAKE, Dataset, Example
from rffr_jax.runs.atomic_files import read_json_object, write_json
from rffr_jax.runs.checkpoints.names import BEST, best_checkpoint_name
from rffr_jax.runs.checkpoints.weights import save_weights

SELECTIONS = ("last", "source", "oracle", "transfer")


class Validation:
    """Measures the weights of a training and, unless `selection` is `last`, keeps the best."""

    def __init__(
        self,
        sets: Mapping[str, Dataset],
        scorer: Scorer,
        workdir: pathlib.Path,
        *,
        selection: str,
        about: dict[str, Any],
    ):
        """Args:
        sets: as `load_validation_sets` named them.
        selection: the config entry.
        about: description of the model, for the best checkpoints.
        """
        self._sets, self._scorer, self._workdir = sets, scorer, workdir
        self._keeps_best, self._about = selection != "last", about
        self._prepared: dict[str, PreparedSet] = {}
        self._bests: dict[str, Any] | None = None

    def evaluate(
        self, parameters: PyTree, trained: PyTree, step: int
    ) -> dict[str, dict[str, float]]:
        """AUC of every validation set and method; keeps the weights wherever one improves.

        Args:
          trained: the part of the parameters that is kept.
        """
        values: dict[str, dict[str, float]] = {}
        for name, dataset in self._sets.items():
            if name not in self._prepared:
                self._prepared[name] = self._scorer.prepare(dataset)
            predictions = self._scorer.score(parameters, self._prepared[name])
            metrics.require_both_classes(predictions.labels, name)
            parts = {"auc": (best_checkpoint_name(name), predictions)}
            for method in fake_methods(predictions.examples):
                part = select_method_and_reals(predictions, method)
                parts[f"auc_{method}"] = (best_checkpoint_name(name, method), part)
            values[name] = {}
            for metric, (best, part) in parts.items():
                values[name][metric] = metrics.auc(part.labels, part.scores)
                if self._keeps_best:
                    self._keep_best(best, part, values[name][metric], trained, step)
        return values

    def _keep_best(self, name: str, part: Predictions, auc: float, trained: PyTree, step: int):
        record = self._workdir / "best.json"
        bests = self._bests
        if bests is None:
            there = read_json_object(record) if record.exists() else {}
            bests = self._bests = processes.all_gather_objects(there)[0]
        if name in bests and bests[name]["step"] < step and bests[name]["auc"] >= auc:
            return
        save_weights(self._workdir / BEST / name, step, trained, self._about)
        bests[name] = {
            "auc": auc,
            "step": step,
            "datasets": sorted({example.dataset for example in part.examples}),
            "methods": fake_methods(part.examples),
        }
        if processes.is_main_process():
            write_json(record, bests)


def check_selection(selection: str, sets: Mapping[str, Dataset]):
    """Raises: UserError if the selection is unknown, or the sets do not fit it."""
    if selection not in SELECTIONS:
        raise UserError(
            f"selection={selection!r} is not known; choose one of {', '.join(SELECTIONS)}"
        )
    if selection == "last":
        return
    if not sets:
        raise UserError(f"selection={selection} needs data.validation sets")
    _require_distinct_names(sets)


def fake_methods(examples: Sequence[Example]) -> list[str]:
    """The methods of the fakes among examples."""
    return sorted({example.method for example in examples if example.label == FAKE})


def load_validation_sets(
    specs: tuple[str, ...] | str, trained: list[dict[str, Any]]
) -> dict[str, Dataset]:
    """Validation sets by their names, as `name_validation_sets` gives them.

    Args:
      trained: how the faces of the training data were prepared.
    """
    named = name_validation_sets(specs)
    for spec, dataset in named.values():
        check_same_preparation(trained, spec, dataset, "data.validation")
        metrics.require_both_classes(
            np.array([example.label for example in dataset.examples]), spec
        )
    return {name: dataset for name, (_, dataset) in named.items()}


def name_validation_sets(specs: Sequence[str] | str) -> dict[str, tuple[str, Dataset]]:
    """Each spec and its data set by the name of its data; a second of one name gets a number."""
    named: dict[str, tuple[str, Dataset]] = {}
    for spec in as_tuple(specs):
        dataset = load_dataset(spec, default_split="validation")
        base = "+".join(sorted({example.dataset for example in dataset.examples}))
        name, number = base, 1
        while name in named:
            number += 1
            name = f"{base}-{number}"
        named[name] = spec, dataset
    return named


def _require_distinct_names(validation: Mapping[str, Dataset]):
    """Raises: UserError if the best weights of two curves would have one name."""
    curves: dict[str, str] = {}
    for name, dataset in validation.items():
        for method in ("", *fake_methods(dataset.examples)):
            best = best_checkpoint_name(name, method)
            curve = f"method '{method}' of '{name}'" if method else f"'{name}'"
            if best in curves:
                raise UserError(
                    f"data.validation: the best weights for {curves[best]} and for {curve} would "
                    f"both be named {best}; call a data set or a method otherwise"
                )
            curves[best] = curve
