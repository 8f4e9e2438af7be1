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
from rffr_jax.evaluation.predictions import Predictions
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
_NAMES_IN_A_WARNING = 20


def results_table(
    predictions: Predictions,
    *,
    trained_methods: Sequence[str],
    rule: str,
    checkpoint: str,
    preprocessing: dict,
    versions: dict,
    warnings: Sequence[str] = (),
    matched: Mapping[tuple[str, str], Predictions] | None = None,
    point: OperatingPoint = DEFAULT_OPERATING_POINT,
    prevalence: float = PREVALENCE,
) -> dict[str, Any]:
    """Every metric of every dataset and method.

    Args:
      predictions: of all test sets together.
      trained_methods: names of the manipulations that the detector was trained on.
      rule: how the checkpoint was chosen: last, source, oracle, transfer or unknown.
      checkpoint: which one it is.
      preprocessing: how pixels became the detector's input.
      versions: of the libraries that computed the scores.
      matched: for (dataset, method) the predictions of a checkpoint chosen for it; they replace
        that method's share of `predictions`.
      warnings: what the reader must know, such as `overlap_with_training`.
      point: thresholds and calibrations, chosen on validation data; 0.5 and none without.
      prevalence: share of fakes for which `ppv` is stated.

    Returns:
      {DATASET: {"pooled": entry, "methods": {METHOD: entry}, "mean_all", "mean_unseen",
      "reliability", "groups"}, "about": {...}} where an entry is `auc, auc_ci95, ap, eer, accuracy,
      tpr_at_fpr_1e-2, tpr_at_fpr_1e-3, video_auc` (in [0, 1]), `single_frame_auc` (`draws, mean,
      sd, lowest, highest`; None with one frame a video), `at_threshold` (`fpr, tpr, ppv` of single
      images), `video_at_threshold` (`fpr, tpr, ppv, n_real, n_fake` of the videos with several
      frames; None without any, or without a threshold of videos) and `n_real, n_fake, n_bad`
      (images). A method is measured against ALL reals of its dataset. `mean_all` is
      the mean AUC over the methods (the paper's 'Avg'), `mean_unseen` over those not in
      `trained_methods` (None if there is none). `reliability` holds `ece`, `ece_calibrated` (None
      without a calibration) and the `bins`; `groups` is `threshold.rates_by_group`.

    Raises:
      UserError: a dataset lacks a class, or is named "about".
    """
    table: dict[str, Any] = {}
    bad: dict[str, dict[str, str]] = {}
    for name, part in predictions.ordered().by_dataset().items():
        if name == ABOUT:
            raise UserError(f"a dataset cannot be named '{ABOUT}' (it has its own use): rename it")
        table[name] = _dataset_results(
            part, name, trained_methods, matched or {}, point, prevalence
        )
        if part.bad:
            bad[name] = {example.id: reason for example, reason in part.bad.items()}
    if not table:
        raise UserError("no image was scored: check the test sets of the evaluation")
    table[ABOUT] = {
        "rule": rule,
        "checkpoint": checkpoint,
        "trained_methods": sorted(trained_methods),
        "preprocessing": preprocessing,
        "versions": versions,
        "bootstrap": {"replicates": bootstrap.REPLICATES, "seed": bootstrap.SEED},
        "operating_point": {**point.to_json(), "prevalence": prevalence},
        "bad": bad,
        "warnings": list(warnings),
    }
    return table


def _dataset_results(
    part: Predictions,
    name: str,
    trained_methods: Sequence[str],
    matched: Mapping[tuple[str, str], Predictions],
    point: OperatingPoint,
    prevalence: float,
) -> dict[str, Any]:
    metrics.require_both_classes(part.labels, name)
    methods = part.fake_methods
    entries = {
        method: _metrics_entry(
            matched.get((name, method)) or select_method_and_reals(part, method), point, prevalence
        )
        for method in methods
    }
    aucs = {method: entry["auc"] for method, entry in entries.items()}
    unseen = [value for method, value in aucs.items() if method not in trained_methods]
    return {
        "pooled": _metrics_entry(part, point, prevalence),
        "methods": entries,
        "mean_all": float(np.mean(list(aucs.values()))),
        "mean_unseen": float(np.mean(unseen)) if unseen else None,
        "reliability": _reliability(part, point),
        "groups": rates_by_group(part, point.image.value),
    }


def _reliability(part: Predictions, point: OperatingPoint) -> dict[str, Any]:
    found = reliability(part.labels, part.scores)
    calibrated = None
    if point.image.calibration is not None:
        probabilities = point.image.calibration.probabilities(part.scores)
        calibrated = reliability(part.labels, probabilities).ece
    columns = zip(
        found.count.tolist(),
        found.mean_probability.tolist(),
        found.fake_share.tolist(),
        strict=True,
    )
    names = ("n", "mean_score", "share_of_fakes")
    return {
        "ece": found.ece,
        "ece_calibrated": calibrated,
        "bins": [dict(zip(names, bin, strict=True)) for bin in columns],
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
    clusters = [example.cluster for example in part.examples]
    interval = bootstrap.auc_interval(labels, scores, clusters)
    return {
        "auc": metrics.auc(labels, scores),
        "auc_ci95": None if interval is None else list(interval),
        "ap": metrics.average_precision(labels, scores),
        "eer": metrics.eer(labels, scores),
        "accuracy": metrics.accuracy(labels, scores),
        "tpr_at_fpr_1e-2": metrics.tpr_at_fpr(labels, scores, 1e-2),
        "tpr_at_fpr_1e-3": metrics.tpr_at_fpr(labels, scores, 1e-3),
        "at_threshold": rates_at_threshold(labels, scores, point.image.value, prevalence),
        "video_at_threshold": _video_rates(part, point.video, prevalence),
        "video_auc": metrics.video_auc(part.examples, scores),
        "single_frame_auc": _single_frame_entry(part),
        **metrics.class_counts(labels),
        "n_bad": len(part.bad),
    }


def _video_rates(
    part: Predictions, threshold: Threshold | None, prevalence: float
) -> dict[str, Any] | None:
    """Rates of the videos with several frames; None without them, or without a threshold."""
    if threshold is None or threshold.video_score is None:
        return None
    labels, scores, _ = score_videos(part, threshold.video_score, min_frames=2)
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
