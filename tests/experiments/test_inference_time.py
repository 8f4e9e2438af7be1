"""Seconds of an image: measured once on a device, and anew on another."""

import json
import shutil

from configs import evaluate
from rffr_jax.experiments.inference_time import RECORD, measure_inference_time


def test_the_time_of_another_device_is_not_taken_over(tmp_path, detector):
    folder = tmp_path / "detector"
    shutil.copytree(detector, folder)
    config = evaluate.get_config()
    (folder / RECORD).write_text('{"seconds": 99.0, "batch": 8, "device": "another"}')
    seconds = measure_inference_time(folder, config)
    assert 0 < seconds < 99
    assert json.loads((folder / RECORD).read_text())["seconds"] == seconds
    assert measure_inference_time(folder, config) == seconds
