"""A finished detector beside a logistic regression in its own domain."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError
from rffr_jax.evaluation.energy_reference import (
    FILTERS,
    detector_doubts,
    energy_features,
    fit_energy_reference,
)
from rffr_jax.examples import Example
from rffr_jax.training.reference_check import check_against_reference, read_reference_check

SIZE = 16


@dataclasses.dataclass(frozen=True)
class Faces:
    """Noise; fakes of A have more of it, fakes of B as much as reals. The first image is bad."""

    seed: int
    count: int = 20

    @property
    def examples(self):
        methods = ("real", "A", "B")
        return tuple(
            Example(f"{m}{n}", f"{m}{n}", int(m != "real"), "noise", m, f"{m}{n}", 0, "")
            for m in methods
            for n in range(self.count)
        )

    def load(self, index, size):
        if index == 0:
            raise BadImageError("real0", "no image")
        rng = np.random.default_rng((self.seed, index))
        spread = 40 if self.examples[index].method == "A" else 30
        return rng.normal(128, spread, (size, size, 3)).clip(0, 255).astype(np.uint8)


def finished(workdir, loss=0.4, **aucs):
    """The log of a training whose validation set is `noise`."""
    lines = [
        {"step": 2, "split": "train", "loss": 0.7},
        {"step": 4, "split": "noise", **{f"auc_{name}": auc for name, auc in aucs.items()}},
        {"step": 4, "split": "train", "loss": loss},
    ]
    (workdir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return workdir


def test_features_are_energies_in_cells():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    grey = image @ [0.299, 0.587, 0.114]
    found = energy_features(image).reshape(4, 8, 8)
    kernel, cell = FILTERS[3], (slice(6, 9), slice(12, 15))
    padded = np.pad(grey, 1)
    energies = [
        (kernel * padded[row : row + 3, column : column + 3]).sum() ** 2
        for row in range(6, 9)
        for column in range(12, 15)
    ]
    assert grey[cell].shape == (3, 3)
    np.testing.assert_allclose(found[3, 2, 4], np.log(1 + np.mean(energies)), rtol=0.02)
    levels = image.astype(np.float32)
    np.testing.assert_allclose(energy_features(levels), found.ravel(), rtol=0.02)


def test_the_regression_weighs_both_classes_alike():
    """Against SciPy on the objective as it is written, with C = 0.01."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(40, 3)).astype(np.float32) + np.repeat([[0.0], [1.0]], [30, 10], 0)
    labels = np.repeat([0, 1], [30, 10])
    x = (features - features.mean(0)) / features.std(0)
    weight = np.where(labels == 1, 40 / 20, 40 / 60)

    def objective(w):
        margins = (2 * labels - 1) * (x @ w[:3] + w[3])
        return w[:3] @ w[:3] / 2 + 0.01 * (weight * np.logaddexp(0, -margins)).sum()

    expected = minimize(objective, np.zeros(4), tol=1e-10).x
    scores = fit_energy_reference(features.astype(np.float32), labels).decision_function(features)
    np.testing.assert_allclose(scores, x @ expected[:3] + expected[3], atol=1e-3)


def test_the_reference_learns_and_is_measured_on_the_fakes_that_are_trained_on(tmp_path):
    training, validation = Faces(1), {"noise": Faces(2), "other": Faces(3)}
    check = check_against_reference(
        training, validation, SIZE, finished(tmp_path, A=0.9, B=0.5, C=0.1)
    )
    assert (check["loss"], check["validation"]) == (0.4, "noise")
    assert check["auc"] == pytest.approx(0.7)  # A and B; C is not trained on
    known = [i for i in range(60) if i]
    features = np.stack([energy_features(training.load(i, SIZE)) for i in known])
    labels = np.array([training.examples[i].label for i in known])
    score = fit_energy_reference(features, labels).decision_function
    unseen = [energy_features(validation["noise"].load(i, SIZE)) for i in known]
    scores = score(np.stack(unseen))
    aucs = [
        roc_auc_score(np.repeat([0, 1], [19, 20]), [*scores[:19], *part])
        for part in (scores[19:39], scores[39:])
    ]
    assert check["reference_auc"] == pytest.approx(np.mean(aucs))
    assert read_reference_check(tmp_path) == check
    again = check_against_reference(training, {}, SIZE, finished(tmp_path, A=0.1))
    assert again == check  # a finished run is not measured twice


def test_a_detector_without_validation_is_judged_by_its_loss(tmp_path, caplog):
    check = check_against_reference(Faces(1), {}, SIZE, finished(tmp_path, loss=0.69))
    assert (check["auc"], check["reference_auc"]) == (None, None)
    (doubt,) = detector_doubts(check)
    assert doubt == "its training loss is 0.690, near ln 2"
    assert doubt in caplog.text


def test_doubts():
    good = {"loss": 0.5, "auc": 0.8, "reference_auc": 0.7}
    assert not detector_doubts(good)
    assert not detector_doubts({})
    assert len(detector_doubts(good | {"loss": 0.6835})) == 1
    assert len(detector_doubts(good | {"auc": 0.7})) == 1
    assert not detector_doubts(good | {"auc": 0.99, "reference_auc": 1.0})
    assert len(detector_doubts(good | {"auc": 0.989, "reference_auc": 1.0})) == 1
    assert len(detector_doubts(good | {"auc": float("nan"), "loss": float("nan")})) == 2


def test_self_blended_pairs_have_recipes_of_their_own(tmp_path):
    pairs = SelfBlendedPairs(load_dataset("synthetic:0#train?limit=24"), 7)
    validation = {"noise": pairs}
    workdir = finished(tmp_path, self_blended=0.6)
    check = check_against_reference(pairs, validation, 32, workdir)
    assert check["auc"] == 0.6
    assert isinstance(check["reference_auc"], float)
