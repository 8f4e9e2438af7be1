"""A finished detector beside a logistic regression on energies of high-pass filters.

Both learned from the same training images and are measured on the same validation images, in the
detector's own domain: the fakes of the methods that it was trained on. reference_check.json in the
workdir holds the result.
"""

import json
import logging
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from rffr_jax.data.captures import Captures
from rffr_jax.data.selection import evenly_spaced, select_examples
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.errors import BadImageError
from rffr_jax.evaluation import metrics
from rffr_jax.evaluation.energy_reference import (
    detector_doubts,
    energy_features,
    fit_energy_reference,
)
from rffr_jax.examples import FAKE, REAL, Dataset
from rffr_jax.runs.atomic_files import read_json_object, write_json
from rffr_jax.runs.validation_metrics import METRICS, read_validation_metrics

log = logging.getLogger(__name__)

FILE = "reference_check.json"
MOST_IMAGES = (
    1000  # of the reals, and of the fakes that are trained on or of a method that is tested
)

Check = dict[str, float | str | None]


def check_against_reference(
    training: Dataset, validation: Mapping[str, Dataset], size: int, workdir: pathlib.Path
) -> Check:
    """Compares a finished detector with the reference; writes and logs the result.

    Only process 0 calls it. A result that is there already is read.

    Args:
      training: images before anything is done to them, or self-blended pairs.
      validation: sets by name, the first of which is of the detector's own domain.
      size: of its images, in pixels.

    Returns:
      `loss`, the last of the training; `validation`, the name of the set; `auc` of the detector and
      `reference_auc`, means over the methods that it was trained on. None where nothing says.
    """
    known = read_reference_check(workdir)
    if known:
        return known
    check: Check = {"loss": _last_loss(workdir), "validation": None}
    check |= {"auc": None, "reference_auc": None}
    name, dataset = next(iter(validation.items()), ("", None))
    measured = read_validation_metrics(workdir).get(name, {})
    methods = sorted({e.method for e in training.examples if e.label == FAKE})
    methods = [method for method in methods if f"auc_{method}" in measured]
    if dataset is not None and methods:
        reference = _reference_auc(training, dataset, methods, size)
        if reference is not None:
            own = float(np.mean([measured[f"auc_{method}"] for method in methods]))
            check |= {"validation": name, "auc": own, "reference_auc": reference}
            log.info(
                "on %s, fakes of %s: AUC %.1f, of a logistic regression on energies of high-pass "
                "filters %.1f",
                *(name, ", ".join(methods), 100 * own, 100 * reference),
            )
    write_json(workdir / FILE, check)
    for doubt in detector_doubts(check):
        log.warning("the detector has learnt too little: %s; train it longer", doubt)
    return check


def read_reference_check(workdir: pathlib.Path) -> Check:
    """The result of `check_against_reference` in a workdir; {} where there is none."""
    file = workdir / FILE
    return read_json_object(file) if file.exists() else {}


def _reference_auc(
    training: Dataset, validation: Dataset, methods: Sequence[str], size: int
) -> float | None:
    """The mean over the methods; None where too few images can be read."""
    images = reference_training_set(training)
    known = [_features(images, _of_label(images, label), size) for label in (REAL, FAKE)]
    reals = _features(validation, _of_label(validation, REAL), size)
    fakes = [
        _features(validation, [i for i, e in enumerate(validation.examples) if e.method == m], size)
        for m in methods
    ]
    if not all(map(len, (*known, reals, *fakes))):
        return None
    labels = np.repeat([REAL, FAKE], list(map(len, known)))
    score = fit_energy_reference(np.concatenate(known), labels).decision_function
    aucs = [
        metrics.auc(
            np.repeat([REAL, FAKE], [len(reals), len(one)]), score(np.concatenate([reals, one]))
        )
        for one in fakes
    ]
    return float(np.mean(aucs))


def reference_training_set(training: Dataset) -> Dataset:
    """The images that the reference learns from: at most `MOST_IMAGES` reals and as many fakes.

    Args:
      training: images before anything is done to them, or self-blended pairs.
    """
    if isinstance(training, SelfBlendedPairs):
        training = Captures(training, 1)  # each pair with a recipe of its own
    chosen = [_of_label(training, label) for label in (REAL, FAKE)]
    kept = [index for indices in chosen for index in evenly_spaced(indices, MOST_IMAGES)]
    return select_examples(training, kept)


def _of_label(dataset: Dataset, label: int) -> list[int]:
    return [index for index, example in enumerate(dataset.examples) if example.label == label]


def _features(
    dataset: Dataset, indices: Sequence[int], size: int
) -> Float32[np.ndarray, "n features"]:
    """Of at most `MOST_IMAGES` evenly spaced examples, without those that cannot be read."""
    found = []
    for index in evenly_spaced(indices, MOST_IMAGES):
        try:
            found.append(energy_features(dataset.load(index, size)))
        except BadImageError:  # training and validation name it
            continue
    return np.array(found, np.float32).reshape(len(found), -1)


def _last_loss(workdir: pathlib.Path) -> float | None:
    lines = map(json.loads, (workdir / METRICS).read_text(encoding="utf-8").splitlines())
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    return float(losses[-1]) if losses else None
