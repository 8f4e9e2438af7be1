"""`results.json`: every number of an evaluation, with what is needed to read it honestly."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.data.origins import Origins
from rffr_jax.errors import UserError
from rffr_jax.evaluation import bootstrap, metrics
from rffr_jax.evaluation.calibration import reliability
from rffr_jax.evaluation.operating_point import (
    DEFAULT_OPERATING_POINT,
    OperatingPoint,
    score_videos,
)
from rffr_jax.evaluation.predictions import Predictions, independence_warnings
from rffr_jax.evaluation.threshold import Threshold, rates_at_threshold, rates_by_group
from rffr_jax.examples import REAL, Example

ABOUT = "about"
RULES = {
    "last": "the weights of the last step, nothing chosen",
    "source": "chosen on the validation part of the training data",
    "oracle": "chosen on each test manipulation's own validation part, which flatters them there",
    "transfer": "chosen on one foreign data set, tested on another",
    "cited": "taken by the paper from another one, which rule is not said",
    "unknown": "nothing says how the weights were chosen",
}
PREVALENCE = 0.01
FPR_LIMITS = {"tpr_at_fpr_1e-2": 1e-2, "tpr_at_fpr_1e-3": 1e-3}
NEARLY_CONSTANT = 0.01
"""Between the scores above 5 % and above 95 % of all."""
_NAMES_IN_A_WARNING = 20


def results_table(
    predictions: Predictions,
    about: Mapping[str, Any],
    *,
    warnings: Sequence[str] = (),
    matched: Mapping[tuple[str, str], Predictions] | None = None,
    point: OperatingPoint = DEFAULT_OPERATING_POINT,
    prevalence: float = PREVALENCE,
) -> dict[str, Any]:
    """Every metric of every dataset and method.

    Args:
      predictions: of all test sets together.
      about: what is known of the scores; `trained_methods`, names of the manipulations that the
        detector was trained on, is None where nobody knows.
      matched: for (dataset, method) the predictions of a checkpoint chosen for it; they replace
        that method's share of `predictions`.
      warnings: what the reader must know, such as `overlap_with_training`.
      point: thresholds and calibrations, chosen on validation data; 0.5 and none without.
      prevalence: share of fakes for which `ppv` is stated.

    Returns:
      {DATASET: {"pooled": entry, "methods": {METHOD: entry}, "mean_all", "mean_unseen",
      "reliability", "groups"}, "about": {...}} where an entry is `auc, auc_ci95, ap, eer, accuracy,
      tpr_at_fpr_1e-2, tpr_at_fpr_1e-3, video_auc` (in [0, 1]), `single_frame_auc` (`draws, mean,
      sd, lowest, highest`; None with one frame a video), `at_threshold` (`rates_at_threshold` of
      single images), `video_at_threshold` (the same of the videos with several frames, and `n_real,
      n_fake`; None without any, or without a threshold of videos), `not_reported` (why a number is
      None, by its name) and `n_real, n_fake, n_bad` (images). A method is measured against ALL
      reals of its dataset. `mean_all` is the mean AUC over the methods (the paper's 'Avg'),
      `mean_unseen` over those not in `trained_methods` (None if there is none, or nobody knows).
      `reliability` is `calibration.Reliability` of the scores, with `ece_calibrated`,
      `brier_calibrated` and `brier_skill_calibrated` (None without a calibration); it is None for
      scores beyond [0, 1]. `groups` is `threshold.rates_by_group`.

    Raises:
      UserError: a dataset lacks a class, or is named "about".
    """
    table: dict[str, Any] = {}
    bad: dict[str, dict[str, str]] = {}
    said = [*warnings, *independence_warnings(predictions)]
    for name, part in predictions.ordered().by_dataset().items():
        if name == ABOUT:
            raise UserError(f"a dataset cannot be named '{ABOUT}' (it has its own use): rename it")
        table[name] = _dataset_results(
            part, name, about["trained_methods"], matched or {}, point, prevalence
        )
        said += constant_score_warnings(part, name)
        if part.bad:
            bad[name] = {example.id: reason for example, reason in part.bad.items()}
    if not table:
        raise UserError("no image was scored: check the test sets of the evaluation")
    table[ABOUT] = {
        **about,
        "bootstrap": {"replicates": bootstrap.REPLICATES, "seed": bootstrap.SEED},
        "operating_point": {**point.to_json(), "prevalence": prevalence},
        "bad": bad,
        "warnings": said,
    }
    return table


def constant_score_warnings(part: Predictions, name: str) -> list[str]:
    """A warning where most images of a dataset have the same score, or nearly."""
    values, counts = np.unique(part.scores, return_counts=True)
    equal = int(counts.max())
    low, high = np.quantile(part.scores, [0.05, 0.95])
    if 2 * equal > len(part.scores) > 2:
        what = f"{equal} of {len(part.scores)} scores are {values[counts.argmax()]:.6g}"
    elif high - low < NEARLY_CONSTANT and part.are_probabilities:
        what = f"90% of {len(part.scores)} scores lie from {low:.6g} to {high:.6g}"
    else:
        return []
    return [
        f"dataset '{name}': {what}: the detector says the same of nearly every image; check that "
        "its images are face crops like those of the training"
    ]


def _dataset_results(
    part: Predictions,
    name: str,
    trained_methods: Sequence[str] | None,
    matched: Mapping[tuple[str, str], Predictions],
    point: OperatingPoint,
    prevalence: float,
) -> dict[str, Any]:
    metrics.require_both_classes(part.labels, name)
    entries = {
        method: _metrics_entry(
            matched.get((name, method)) or select_method_and_reals(part, method), point, prevalence
        )
        for method in part.fake_methods
    }
    unseen = []
    if trained_methods is not None:
        unseen = [entry["auc"] for m, entry in entries.items() if m not in trained_methods]
    return {
        "pooled": _metrics_entry(part, point, prevalence),
        "methods": entries,
        "mean_all": float(np.mean([entry["auc"] for entry in entries.values()])),
        "mean_unseen": float(np.mean(unseen)) if unseen else None,
        "reliability": _reliability(part, point) if part.are_probabilities else None,
        "groups": rates_by_group(part, point.image.value) if part.are_probabilities else {},
    }


def _reliability(part: Predictions, point: OperatingPoint) -> dict[str, Any]:
    found = reliability(part.labels, part.scores)
    calibrated = None
    if point.image.calibration is not None:
        probabilities = point.image.calibration.probabilities(part.scores)
        calibrated = reliability(part.labels, probabilities)
    numbers = ("ece", "brier", "brier_skill")
    columns = (found.count, found.mean_probability, found.fake_share)
    names = ("n", "mean_score", "share_of_fakes")
    return {
        **{name: getattr(found, name) for name in numbers},
        **{f"{name}_calibrated": calibrated and getattr(calibrated, name) for name in numbers},
        "bins": [
            dict(zip(names, bin, strict=True))
            for bin in zip(*(column.tolist() for column in columns), strict=True)
        ],
    }


def select_method_and_reals(part: Predictions, method: str) -> Predictions:
    """The fakes of one method and all reals, out of the predictions of one dataset."""

    def belongs(example: Example) -> bool:
        return example.label == REAL or example.method == method

    rows = [i for i, example in enumerate(part.examples) if belongs(example)]
    bad = {example: reason for example, reason in part.bad.items() if belongs(example)}
    return Predictions([part.examples[i] for i in rows], part.scores[rows], bad)


def _metrics_entry(part: Predictions, point: OperatingPoint, prevalence: float) -> dict[str, Any]:
    labels, scores = part.labels, part.scores
    counts = metrics.class_counts(labels)
    interval = bootstrap.auc_interval(labels, scores, [e.cluster for e in part.examples])
    entry = {
        "auc": metrics.auc(labels, scores),
        "auc_ci95": None if interval is None else list(interval),
        "ap": metrics.average_precision(labels, scores),
        "eer": metrics.eer(labels, scores),
        "accuracy": metrics.accuracy(labels, scores),
        **{name: metrics.tpr_at_fpr(labels, scores, rate) for name, rate in FPR_LIMITS.items()},
        "at_threshold": rates_at_threshold(labels, scores, point.image.value, prevalence),
        "video_at_threshold": _video_rates(part, point.video, prevalence),
        "video_auc": metrics.video_auc(part.examples, scores),
        "single_frame_auc": _single_frame_entry(part),
        **counts,
        "n_bad": len(part.bad),
    }
    entry["not_reported"] = {
        name: f"needs {round(1 / rate)} reals, and there are {counts['n_real']}"
        for name, rate in FPR_LIMITS.items()
        if counts["n_real"] * rate < 1 - 1e-9
    }
    if not part.are_probabilities:
        reason = f"scores lie beyond [0, 1], and {point.image.value:g} is no threshold for them"
        entry["not_reported"] |= dict.fromkeys(("accuracy", "at_threshold"), reason)
    return entry | dict.fromkeys(entry["not_reported"])


def _video_rates(
    part: Predictions, threshold: Threshold | None, prevalence: float
) -> dict[str, Any] | None:
    """Rates of the videos with several frames; None without them, or without a threshold."""
    if threshold is None or threshold.video_score is None:
        return None
    labels, scores, *_ = score_videos(part, threshold.video_score, min_frames=2)
    if not len(labels):
        return None
    return {
        **rates_at_threshold(labels, scores, threshold.value, prevalence),
        **metrics.class_counts(labels),
    }


def _single_frame_entry(part: Predictions) -> dict[str, Any] | None:
    """The spread over draws of one frame a video; None where videos have no other."""
    aucs = metrics.single_frame_aucs(part.examples, part.scores)
    if aucs is None:
        return None
    return {
        "draws": len(aucs),
        "mean": float(aucs.mean()),
        "sd": float(aucs.std(ddof=1)),
        "lowest": float(aucs.min()),
        "highest": float(aucs.max()),
    }


def overlap_with_training(
    test_examples: Sequence[Example], trained: Mapping[str, Origins]
) -> list[str]:
    """One warning a dataset whose test holds images of originals that were trained on.

    An original was trained on if one with its data set and name was, or if the very file was,
    whatever its data set is called there.

    Args:
      test_examples: reals and fakes; a fake counts through the original that it was made from.
      trained: what each model, by its name, was trained on.
    """
    sources: dict[str, set[str]] = defaultdict(set)
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for example in test_examples:
        sources[example.dataset].add(example.source)
        for model, origins in trained.items():
            if origins.contains(example):
                seen[example.dataset][model].add(example.source)
    warnings = []
    for dataset, models in sorted(seen.items()):
        names = sorted(set().union(*models.values()))
        counts = ", ".join(f"{model}: {len(models[model])}" for model in trained if models[model])
        named = ", ".join(names[:_NAMES_IN_A_WARNING])
        more = len(names) - _NAMES_IN_A_WARNING
        warnings.append(
            f"dataset '{dataset}': {len(names)} of {len(sources[dataset])} originals in the "
            f"test were seen in training ({counts}): {named}"
            + (f" and {more} more" if more > 0 else "")
        )
    return warnings
