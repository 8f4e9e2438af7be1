"""A logistic regression as a row of a table: what it learns from, reads and writes."""

import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest

from configs import evaluate
from rffr_jax.data.selection import keep_methods
from rffr_jax.data.specs import load_dataset
from rffr_jax.evaluation.energy_reference import energy_features, fit_energy_reference
from rffr_jax.experiments import energy_reference
from rffr_jax.method.baseline_residuals import high_pass_residual
from tests import jobs


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["original", "both"])
def test_a_regression_reads_what_the_detector_reads(tmp_path, faces, data, inputs):
    """Against the same by hand, on the detector's training fakes and on all of the test's."""
    flags = (*data, "data.methods=rows", "detector.residual=high_pass", "steps=2")
    flags += (f"detector.inputs={inputs}", "selection=last")
    assert jobs.start("detect", tmp_path / "detector", *flags) == 0
    config = evaluate.get_config()
    config.job = "energy_reference"
    config.detector = str(tmp_path / "detector")
    config.data.tests = (f"csv:{faces}/test.csv",)
    config.batch_size = 4
    energy_reference.run(config, tmp_path / "run")

    def described(dataset):
        found = []
        for index in range(len(dataset.examples)):
            image = dataset.load(index, jobs.SIZE)
            parts = [energy_features(image)]
            if inputs == "both":
                residual = high_pass_residual(jnp.asarray(image[None] / 255, jnp.float32), 4.0)[0]
                parts.append(energy_features(127.5 * np.asarray(residual)))
            found.append(np.concatenate(parts))
        return np.stack(found), np.array([e.label for e in dataset.examples])

    known = keep_methods(load_dataset(f"csv:{faces}/train.csv"), ("rows",), where="")
    test = load_dataset(f"csv:{faces}/test.csv")
    chances = fit_energy_reference(*described(known)).predict_proba(described(test)[0])[:, 1]
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        scores = {line["id"]: float(line["score"]) for line in csv.DictReader(file)}
    found = [scores[example.id] for example in test.examples]
    np.testing.assert_allclose(found, chances, atol=1e-3)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["faces"]["methods"].keys() == {"rows", "columns"}
    assert results["faces"]["methods"]["rows"]["auc"] > 0.9
