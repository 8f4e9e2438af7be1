"""Validation metrics of a run, by data set and for the weights of a step."""

import json

import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.runs.model_folder import write_model
from rffr_jax.runs.validation_metrics import read_validation_metrics

LINES = [
    {"step": 10, "split": "train", "loss": 0.7},
    {"step": 10, "split": "faces", "auc": 0.6},
    {"step": 10, "split": "others", "auc": 0.5},
    {"step": 20, "split": "faces", "auc": 0.8},
    {"step": 30, "split": "train", "loss": 0.2},
]


def write_log(folder, lines=LINES):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_last_validation_of_each_set_up_to_a_step(tmp_path):
    assert read_validation_metrics(tmp_path) == {}
    write_log(tmp_path)
    others = {"step": 10, "auc": 0.5}
    last = {"faces": {"step": 20, "auc": 0.8}, "others": others}
    assert read_validation_metrics(tmp_path) == last
    assert read_validation_metrics(tmp_path, 20) == last
    assert read_validation_metrics(tmp_path, 19) == last | {"faces": {"step": 10, "auc": 0.6}}
    assert read_validation_metrics(tmp_path, 9) == {}


def test_a_model_folder_has_those_of_its_weights(tmp_path):
    weights = {"mae": {"w": np.zeros(1, np.float32)}}
    metrics = {"faces": {"step": 20, "auc": 0.8}}
    write_model(tmp_path / "new", weights, {"about": {}, "metrics": metrics}, "")
    write_model(tmp_path / "before", weights, {"about": {}}, "")  # metrics came later
    assert read_validation_metrics(tmp_path / "new") == metrics
    assert read_validation_metrics(tmp_path / "before") == {}


@pytest.mark.parametrize("line", [{"step": 1}, [1], 3, {"split": "faces"}])
def test_a_damaged_log_is_named(tmp_path, line):
    write_log(tmp_path, [*LINES, line])
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged \(.*put a copy back"):
        read_validation_metrics(tmp_path, 30)
