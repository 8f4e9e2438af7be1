"""Job `evaluate`: a trained detector's numbers on test sets, with the rule that chose it."""

import collections
import importlib.metadata
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rffr_jax.cluster import processes
from rffr_jax.cluster.agreement import require_same_data
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config
from rffr_jax.data.image_hashes import (
    describe_equal_images,
    describe_shared_images,
    describe_trained_images,
)
from rffr_jax.data.origins import Origins, synthetic_data_note
from rffr_jax.data.selection import keep_frames, keep_methods
from rffr_jax.data.shortcuts import shortcut_warnings
from rffr_jax.data.specs import as_tuple, load_dataset, load_separately
from rffr_jax.errors import UserError
from rffr_jax.evaluation import metrics, operating_point, residual_reference, results
from rffr_jax.evaluation.aggregate import VideoScore, check_aggregate
from rffr_jax.evaluation.calibration import check_method
from rffr_jax.evaluation.operating_point import OperatingPoint, select_multi_frame_videos
from rffr_jax.evaluation.plots import plot_reliability, plot_roc
from rffr_jax.evaluation.predictions import Predictions, concatenate, require_unique
from rffr_jax.evaluation.results_text import format_table
from rffr_jax.evaluation.score_files import matched_file
from rffr_jax.evaluation.scoring import PACKAGES
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.examples import FAKE, Dataset, Example
from rffr_jax.faces.frames_as_crops import describe_frames_as_crops
from rffr_jax.runs.atomic_files import write_json
from rffr_jax.runs.checkpoints.names import best_checkpoint_name
from rffr_jax.runs.model_names import folder_of_model, is_portable
from rffr_jax.runs.program import program_version
from rffr_jax.runs.workdir import locked_workdir, write_config

log = logging.getLogger(__name__)

UNKNOWN_ORIGINS = (
    "a model folder does not say which originals were seen, and the detector is one or was trained "
    "further from one: an overlap of test images with that training or its validation was not "
    "checked; start from the workdir to check it"
)


def run(config: Config, workdir: pathlib.Path):
    """Scores the test sets; writes results.json, predictions.csv, roc.png and reliability.png;
    prints the table."""
    tests = load_test_sets(config)
    if config.checkpoint == "matched":
        _require_distinct_files(tests)
    folder = folder_of_model(config.detector, "detector")
    detector = TrainedDetector(folder, make_mesh(config.mesh.fsdp), config)
    datasets = detector.require_same_preparation(config.data.tests, tests, "data.tests")
    validation = _load_validation_set(config, tests)
    if validation is not None:
        specs = as_tuple(config.data.validation)[:1]
        detector.require_same_preparation(specs, [validation], "data.validation")
        datasets["data.validation"] = validation
    require_same_data(**datasets)
    for test in tests:
        for name in _required_checkpoints(config.checkpoint, test):
            detector.require_checkpoint(name)
    with locked_workdir(workdir):
        write_config(workdir, config)
        if config.checkpoint == "matched":
            predictions, matched = _score_matched(detector, tests)
            point = operating_point.DEFAULT_OPERATING_POINT
        else:
            predictions, matched = detector.predictions(config.checkpoint, tests), {}
            point = _choose_or_read_operating_point(detector, config, validation, predictions)
        table = write_results(
            detector,
            config.checkpoint,
            predictions,
            workdir,
            matched,
            point=point,
            prevalence=config.prevalence,
        )
    if processes.is_main_process():
        print(format_table(table))


def write_results(
    detector: TrainedDetector,
    checkpoint: str,
    predictions: Predictions,
    workdir: pathlib.Path,
    matched: Mapping[tuple[str, str], Predictions] | None = None,
    *,
    point: OperatingPoint = operating_point.DEFAULT_OPERATING_POINT,
    prevalence: float = results.PREVALENCE,
) -> dict[str, Any]:
    """Writes results.json, predictions.csv, roc.png and reliability.png for scores of a detector.

    Args:
      checkpoint: the one that made the scores: `last`, `best:NAME` or `matched`.
      matched: with `matched`, the scores of each method's own checkpoint.
      point, prevalence: as for `results.results_table`.

    Returns:
      The content of results.json.
    """
    matched = matched or {}
    rule = detector.selection_rule(checkpoint, predictions.examples)
    warnings = results.overlap_with_training(predictions.examples, detector.trained_on())
    warnings += operating_point.threshold_warnings(point, detector.trained_on())
    warnings += operating_point.frame_warnings(point, predictions.examples)
    warnings += describe_frames_as_crops(predictions.examples)
    if predictions.hashes is not None:
        seen = detector.trained_images()
        warnings += describe_trained_images(predictions.examples, predictions.hashes, seen)
        warnings += describe_equal_images(predictions.examples, predictions.hashes.digests)
    if not detector.knows_its_origins:
        warnings.append(UNKNOWN_ORIGINS)
    if processes.is_main_process():
        warnings += shortcut_warnings(predictions.examples)
    note = synthetic_data_note(predictions.examples)
    table = results.results_table(
        predictions,
        {
            "rule": rule,
            "checkpoint": checkpoint,
            "trained_methods": sorted(detector.about["trained_methods"]),
            "preprocessing": {
                **detector.about["detection"],
                "preparations": detector.about["preparations"],
                "self_blending": detector.about.get("self_blending"),
            },
            "program": program_version(),
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        },
        matched=matched,
        warnings=[note, *warnings] if note else warnings,
        point=point,
        prevalence=prevalence,
    )
    if processes.is_main_process():
        write_json(workdir / "results.json", table)
        predictions.write_csv(workdir / "predictions.csv")
        for (dataset, method), part in matched.items():
            part.write_csv(workdir / matched_file(dataset, method))
        title = f"checkpoint {checkpoint}, selection rule {rule}"
        title = f"{title}\n{note}" if note else title
        plot_roc(workdir / "roc.png", predictions, title)
        plot_reliability(workdir / "reliability.png", predictions, title, point.image.calibration)
    return table


def _required_checkpoints(checkpoint: str, test: Dataset) -> list[str]:
    """The checkpoints that the workdir must have to score a test set with `checkpoint`."""
    if checkpoint != "matched":
        return [checkpoint]
    methods = sorted({example.method for example in _fakes(test)})
    return [_matched_checkpoint(test), *(_matched_checkpoint(test, method) for method in methods)]


def _matched_checkpoint(test: Dataset, method: str = "") -> str:
    """The checkpoint that was best on a test set's own validation part, or on a method of it."""
    name = "+".join(sorted({example.dataset for example in test.examples}))
    return f"best:{best_checkpoint_name(name, method)}"


def _require_distinct_files(tests: list[Dataset]):
    """Raises: UserError if the scores of two methods would be written to one file."""
    owners: dict[str, tuple[str, str]] = {}
    for example in (fake for test in tests for fake in _fakes(test)):
        key = (example.dataset, example.method)
        file = matched_file(*key)
        if (owner := owners.setdefault(file, key)) != key:
            first, second = (
                f"method '{method}' of '{dataset}'" for dataset, method in (owner, key)
            )
            raise UserError(
                f"data.tests: with checkpoint=matched the scores of {first} and of {second} would "
                f"both be {file}; call a data set or a method otherwise"
            )


def _score_matched(
    detector: TrainedDetector, tests: list[Dataset]
) -> tuple[Predictions, dict[tuple[str, str], Predictions]]:
    """Each data set with the weights that were best on its own validation part, and each method
    with those that were best on that method (the paper's Table 1)."""
    pooled, matched = [], collections.defaultdict(list)
    for test in tests:
        prepared = detector.scorer.prepare(test)
        pooled.append(detector.predictions(_matched_checkpoint(test), [prepared]))
        for dataset, method in sorted({(e.dataset, e.method) for e in _fakes(test)}):
            predictions = detector.predictions(_matched_checkpoint(test, method), [prepared])
            part = predictions.by_dataset()[dataset]
            matched[dataset, method].append(results.select_method_and_reals(part, method))
    return concatenate(pooled), {key: concatenate(parts) for key, parts in matched.items()}


def _load_validation_set(config: Config, tests: list[Dataset]) -> Dataset | None:
    """The data that choose thresholds, with all frames; None if `data.validation` is empty.

    Raises:
      UserError: a test image shares its original or its file with them.
    """
    specs = as_tuple(config.data.validation)
    if not specs:
        return None
    if config.checkpoint == "matched":
        raise UserError(
            "checkpoint=matched has weights of its own for every method, and a threshold belongs "
            "to one set of weights; leave out data.validation, or choose last or best:NAME"
        )
    check_method(config.calibration)
    check_aggregate(config.aggregate, config.top_k)
    dataset = load_dataset(specs, default_split="validation")
    labels = np.array([example.label for example in dataset.examples])
    metrics.require_both_classes(labels, f"data.validation, {', '.join(specs)}")
    tested = [example for test in tests for example in test.examples]
    shared = operating_point.describe_test_overlap(Origins.from_examples(dataset.examples), tested)
    if shared:
        raise UserError(f"data.validation chooses a threshold for the test: {shared}; name others")
    return dataset


def _choose_or_read_operating_point(
    detector: TrainedDetector,
    config: Config,
    validation: Dataset | None,
    tested: Predictions,
) -> OperatingPoint:
    """Chooses thresholds on the validation set and writes them beside the detector.

    Without a validation set those beside the detector are read. Nothing is written beside the
    installed detector or one of the hub, whose files belong to pip and to the hub's cache.

    Raises:
      UserError: images of the validation set are images of the test, whatever their names.
    """
    if validation is None:
        point = detector.operating_point(config.checkpoint)
        shared = operating_point.describe_test_overlap(point.origins, tested.examples)
        if not shared:
            return point
        log.warning("the threshold beside the detector is not used: %s", shared)
        return operating_point.DEFAULT_OPERATING_POINT
    parameters, specs = detector.parameters(config.checkpoint), as_tuple(config.data.validation)
    images, heat = detector.scorer.score_with_heat(
        parameters, keep_frames(validation, config.frames_per_video)
    )
    metrics.require_both_classes(images.labels, "data.validation")
    frames = select_multi_frame_videos(validation, config.validation_frames)
    videos = None if frames is None else detector.scorer.score(parameters, frames)
    _refuse_equal_images(tested, [images] if videos is None else [images, videos])
    point = operating_point.choose_operating_point(
        images,
        videos,
        VideoScore.of(config.aggregate, config.top_k, config.validation_frames),
        specs,
        config.max_fpr,
        config.calibration,
        config.worst_source,
    )
    reference = None if heat is None else residual_reference.measure_reference(images, heat, specs)
    if is_portable(config.detector):
        log.warning(
            "detector=%s: the threshold that data.validation chooses is used here and not kept; "
            "to keep it, copy the detector with `rffr-jax export-model %s DIR` and evaluate DIR",
            config.detector,
            config.detector,
        )
    else:
        detector.write_validation_records(config.checkpoint, point, reference)
    return point


def _refuse_equal_images(tested: Predictions, validation: list[Predictions]):
    for known in (part.hashes for part in validation):
        if known is None or tested.hashes is None:
            continue
        if shared := describe_shared_images(tested.examples, tested.hashes, known):
            raise UserError(
                f"data.validation chooses a threshold for the test: {shared} are, pixel by pixel, "
                "among its images, whatever their names; name other validation data"
            )


def _fakes(test: Dataset) -> list[Example]:
    return [example for example in test.examples if example.label == FAKE]


def load_test_sets(config: Config) -> list[Dataset]:
    """The test sets, filtered; equal names are made different before anything is scored."""
    specs = as_tuple(config.data.tests)
    tests = []
    for spec, dataset in zip(specs, load_separately(specs, default_split="test"), strict=True):
        dataset = keep_methods(dataset, config.data.methods, where=f"data.methods, for {spec}")
        dataset = keep_frames(dataset, config.frames_per_video)
        labels = np.array([example.label for example in dataset.examples])
        metrics.require_both_classes(labels, spec)
        tests.append(dataset)
    require_unique([example for test in tests for example in test.examples])
    return tests
