"""Job `energy_reference`: a logistic regression that reads what a trained detector reads.

Its features are energies of high-pass filters of the image and, where the detector reads residuals,
of the residual beside it. So a row of a table says what the detector's input is worth without a
network.
"""

import pathlib

import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config
from rffr_jax.evaluation.energy_reference import energy_features, fit_energy_reference
from rffr_jax.evaluation.evaluate import load_test_sets, write_results
from rffr_jax.evaluation.predictions import Predictions, concatenate
from rffr_jax.evaluation.scoring import Scorer
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.examples import Dataset, Example
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.workdir import locked_workdir, write_config
from rffr_jax.training.reference_check import reference_training_set
from rffr_jax.training.training_set import load_training_set

RESIDUAL_LEVELS = 127.5  # for residuals in [-1, 1]


def run(config: Config, workdir: pathlib.Path):
    """Writes what the job `evaluate` does, of a regression on the detector's training images."""
    folder = folder_of_model(config.detector, "detector")
    detector = TrainedDetector(folder, make_mesh(), config)
    training = load_training_set(ConfigDict(read_json_object(folder / "config.json")))
    with locked_workdir(workdir):
        write_config(workdir, config)
        known = reference_training_set(training.originals)
        examples, features, _ = _features(detector.scorer, known)
        labels = np.array([example.label for example in examples])
        regression = fit_energy_reference(features, labels)
        tests = []
        for test in load_test_sets(config):
            examples, features, bad = _features(detector.scorer, test)
            scores = regression.predict_proba(features)[:, 1]
            tests.append(Predictions(examples, scores.astype(np.float64), bad))
        write_results(detector, config.checkpoint, concatenate(tests), workdir)


def _features(
    scorer: Scorer, dataset: Dataset
) -> tuple[list[Example], Float32[np.ndarray, "n features"], dict[Example, str]]:
    """Of every example that can be read, and why the others cannot."""
    examples, found, prepared = [], [], scorer.prepare(dataset)
    for batch in prepared.batches():
        images = batch["image"]
        residuals = scorer.pictures(images, batch.get("difference"))[1]
        for row in np.flatnonzero(batch["weight"] > 0):
            parts = [energy_features(images[row])]
            if residuals is not None:
                parts.append(energy_features(RESIDUAL_LEVELS * residuals[row]))
            examples.append(dataset.examples[batch["index"][row]])
            found.append(np.concatenate(parts))
    return examples, np.stack(found), prepared.bad
