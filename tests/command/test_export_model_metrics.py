"""Validation metrics in a model folder: of the weights that it holds, not of later ones."""

import dataclasses
import json

import jax
import numpy as np

from rffr_jax.command.export_model import export_model
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.runs.checkpoints.names import BEST, LATEST
from rffr_jax.runs.checkpoints.weights import read_about, save_weights
from rffr_jax.runs.model_folder import read_config
from scripts.untrained_detector import save_untrained_detector
from tests.random_detectors import TINY


def write_log(workdir):
    lines = [{"step": step, "split": "faces", "auc": step / 10} for step in range(4)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (workdir / "metrics.jsonl").write_text(text)


def exported_metrics(workdir, folder, checkpoint="last"):
    export_model(workdir, folder, checkpoint)
    return read_config(folder, "model")["metrics"]


def of_step(step):
    return {"faces": {"step": step, "auc": step / 10}}


def test_those_of_a_stopped_detector(tmp_path):
    run = tmp_path / "run"
    parameters = save_untrained_detector(run, TINY, 2)
    about = read_about(run, "detector", "detector")
    save_weights(run / BEST / "faces", 2, parameters, about)
    chosen = {"step": 2, "auc": 0.2, "datasets": ["faces"], "methods": ["rows"]}
    (run / "best.json").write_text(json.dumps({"faces": chosen}))
    write_log(run)
    assert exported_metrics(run, tmp_path / "last") == of_step(0)
    assert exported_metrics(run, tmp_path / "best", "best:faces") == of_step(2)
    assert exported_metrics(tmp_path / "best", tmp_path / "again") == of_step(2)


def test_those_of_a_stopped_mae(tmp_path):
    run = tmp_path / "run"
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract_mae(TINY)[1])
    about = {"kind": "mae", "model": dataclasses.asdict(TINY)}
    save_weights(run / LATEST, 1, zeros, about)
    write_log(run)
    assert exported_metrics(run, tmp_path / "model") == of_step(1)
