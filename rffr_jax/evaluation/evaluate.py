"""Job `evaluate`: a trained detector's numbers on test sets, with the rule that chose it."""

import importlib.metadata
import json
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, PyTree

from rffr_jax.blocks import BlockGrid
from rffr_jax.config import Config
from rffr_jax.data.examples import FAKE, Dataset, Example
from rffr_jax.data.manipulations import METHODS
from rffr_jax.data.selection import keep_frames, keep_methods
from rffr_jax.data.specs import load_dataset
from rffr_jax.detection import Detection, DetectionSettings
from rffr_jax.errors import UserError
from rffr_jax.evaluation import metrics, results
from rffr_jax.evaluation.plots import plot_roc
from rffr_jax.evaluation.predictions import Predictions, concatenate
from rffr_jax.evaluation.scoring import PreparedSet, Scorer
from rffr_jax.models.sizes import compute_dtype
from rffr_jax.training.checkpoint import BEST, FROZEN_MAE, load_weights, read_about
from rffr_jax.training.sharding import make_mesh
from rffr_jax.training.workdir import locked, write_config
from rffr_jax.whole_files import write_json

log = logging.getLogger(__name__)

PACKAGES = ("jax", "jaxlib", "flax", "orbax-checkpoint", "grain", "numpy", "pillow", "scikit-learn")


NOTES = {
    "synthetic": "procedural faces and manipulations: this says nothing about real deepfakes",
    "made here": "manipulations made by this program: this says nothing about real deepfakes",
}


def run(config: Config, workdir: pathlib.Path):
    """Scores the test sets; writes results.json, predictions.csv and roc.png; prints the table."""
    tests = [_test_set(spec, config) for spec in _as_list(config.data.tests)]
    detector = TrainedDetector(pathlib.Path(config.detector), make_mesh(config.mesh.fsdp), config)
    for test in tests:
        for name in _checkpoints(config.checkpoint, test):
            detector.require(name)
    with locked(workdir):
        write_config(workdir, config)
        prepared = [detector.scorer.prepare(test) for test in tests]
        if config.checkpoint == "matched":
            predictions, matched = _score_matched(detector, prepared)
        else:
            predictions = detector.predictions(config.checkpoint, prepared)
            matched = {}
        table = report(detector, config.checkpoint, predictions, workdir, matched)
    print(results.format_table(table))


def report(
    detector: "TrainedDetector",
    checkpoint: str,
    predictions: Predictions,
    workdir: pathlib.Path,
    matched: Mapping[tuple[str, str], Predictions] | None = None,
) -> dict[str, Any]:
    """Writes results.json, predictions.csv and roc.png for scores of a detector.

    Args:
      checkpoint: the one that made the scores: `last`, `best:NAME` or `matched`.
      matched: with `matched`, the scores of each method's own checkpoint.

    Returns:
      What results.json holds.
    """
    matched = matched or {}
    rule = detector.selection_rule(checkpoint, predictions)
    warnings = results.overlap_with_training(predictions.examples, detector.training_sources())
    note = honest_note(predictions.examples)
    table = results.results_table(
        predictions,
        matched=matched,
        trained_methods=detector.about["trained_methods"],
        rule=rule,
        checkpoint=checkpoint,
        preprocessing=detector.about["detection"],
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
        warnings=[note, *warnings] if note else warnings,
    )
    if jax.process_index() == 0:
        write_json(workdir / "results.json", table)
        predictions.write_csv(workdir / "predictions.csv")
        for (dataset, method), part in matched.items():
            part.write_csv(workdir / f"predictions-{dataset}-{method}.csv")
        title = f"checkpoint {checkpoint}, selection rule {rule}"
        plot_roc(workdir / "roc.png", predictions, f"{title}\n{note}" if note else title)
    return table


def honest_note(examples: Sequence[Example]) -> str:
    """What must stand beside numbers on data that this program made; empty for other data."""
    if any(example.dataset == "synthetic" for example in examples):
        return NOTES["synthetic"]
    return NOTES["made here"] if any(e.method in METHODS for e in examples) else ""


class TrainedDetector:
    """A detect workdir: its last and best weights, and what they were trained on."""

    def __init__(self, folder: pathlib.Path, mesh: Mesh, config: Config):
        self._folder, self._mesh = folder, mesh
        self.about = read_about(folder, "detector", "detector")
        settings = DetectionSettings.from_json(self.about["detection"])
        self._detection = Detection(settings, compute_dtype(config.dtype))
        self.covered = covered_pixels(self._detection.blocks, settings.model.patch_size)
        mae: PyTree = {}
        if settings.needs_mae:
            mae = load_weights(folder / FROZEN_MAE, "detector", self._detection.abstract_mae, mesh)
        self.scorer = Scorer(
            self._detection,
            mae,
            mesh,
            batch_size=config.batch_size,
            workers=config.data.workers,
            max_bad_fraction=config.data.max_bad_fraction,
        )

    def predictions(self, checkpoint: str, tests: list[PreparedSet]) -> Predictions:
        """Scores of all test sets with `last` or `best:NAME`."""
        parameters = self._parameters(checkpoint)
        return concatenate([self.scorer.score(parameters, test) for test in tests])

    def require(self, checkpoint: str):
        """Raises: UserError if there is no such checkpoint (`last` or `best:NAME`)."""
        there = ["last", *(f"best:{name}" for name in self._best())]
        if checkpoint not in there:
            raise UserError(
                f"checkpoint={checkpoint!r} is not in {self._folder}; there are {', '.join(there)}"
            )

    def selection_rule(self, checkpoint: str, predictions: Predictions) -> str:
        """How the checkpoint was chosen: last, source, oracle or transfer.

        A best is `transfer` if it was chosen on a data set that is neither trained nor tested on,
        `source` if chosen on the training domain's own methods, else `oracle`.
        """
        if checkpoint == "last":
            return "last"
        if checkpoint == "matched":
            return "oracle"
        best = self._best()[checkpoint.removeprefix("best:")]
        chosen_on, tested = set(best["datasets"]), set(predictions.datasets())
        if not chosen_on & set(self.about["trained_datasets"]):
            return "oracle" if chosen_on & tested else "transfer"
        return "source" if set(best["methods"]) <= set(self.about["trained_methods"]) else "oracle"

    def training_sources(self) -> set[tuple[str, str]]:
        """(dataset, source) of every example that was trained on; none where it is not recorded."""
        file = self._folder / "training_sources.json"
        record = json.loads(file.read_text()) if file.exists() else {}
        return {(dataset, source) for dataset, sources in record.items() for source in sources}

    def _parameters(self, checkpoint: str) -> PyTree:
        self.require(checkpoint)
        folder = self._folder
        if checkpoint != "last":
            folder = folder / BEST / checkpoint.removeprefix("best:")
        return load_weights(folder, "detector", self._detection.abstract_parameters, self._mesh)

    def _best(self) -> dict[str, Any]:
        record = self._folder / "best.json"
        return json.loads(record.read_text()) if record.exists() else {}


def covered_pixels(blocks: BlockGrid, patch: int) -> Bool[np.ndarray, "size size"]:
    """Where the blocks reach."""
    covered = np.zeros(blocks.patches, bool)
    covered[blocks.hidden.reshape(-1)] = True
    grid = covered.reshape(blocks.grid, blocks.grid)
    return grid.repeat(patch, axis=0).repeat(patch, axis=1)


def _checkpoints(checkpoint: str, test: Dataset) -> list[str]:
    """What must be in the workdir to score a test set with `checkpoint`."""
    if checkpoint != "matched":
        return [checkpoint]
    methods = sorted({example.method for example in test.examples if example.label == FAKE})
    return [_own_best(test), *(_own_best(test, method) for method in methods)]


def _own_best(test: Dataset, method: str = "") -> str:
    """The checkpoint that was best on a test set's own validation part, or on a method of it."""
    name = "+".join(sorted({example.dataset for example in test.examples}))
    return f"best:{name}-{method}" if method else f"best:{name}"


def _score_matched(
    detector: TrainedDetector, tests: list[PreparedSet]
) -> tuple[Predictions, dict[tuple[str, str], Predictions]]:
    """Each data set with the weights that were best on its own validation part, and each method
    with those that were best on that method (the paper's Table 1)."""
    pooled, matched = [], {}
    for test in tests:
        pooled.append(detector.predictions(_own_best(test.dataset), [test]))
        fakes = {(e.dataset, e.method) for e in test.dataset.examples if e.label == FAKE}
        for dataset, method in sorted(fakes):
            predictions = detector.predictions(_own_best(test.dataset, method), [test])
            part = predictions.datasets()[dataset]
            matched[dataset, method] = results.against_all_reals(part, method)
    return concatenate(pooled), matched


def _test_set(spec: str, config: Config) -> Dataset:
    dataset = load_dataset(spec, default_split="test")
    dataset = keep_methods(dataset, config.data.methods, where=f"data.methods, for {spec}")
    dataset = keep_frames(dataset, config.frames_per_video)
    labels = np.array([example.label for example in dataset.examples])
    metrics.require_both_classes(labels, spec)
    return dataset


def _as_list(specs: str | tuple[str, ...]) -> list[str]:
    return [specs] if isinstance(specs, str) else list(specs)
