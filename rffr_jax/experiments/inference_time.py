"""How long a trained detector takes for an image, residual included (the paper's Table 9)."""

import pathlib
import statistics
import time

import jax
import numpy as np

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.runs.atomic_files import read_json_object, write_json

BATCH, REPEATS = 8, 5
RECORD = "inference_seconds.json"


def measure_inference_time(detector: pathlib.Path, config: Config) -> float:
    """Seconds for an image: the median over repeats of one compiled call on a batch.

    The result is written beside the detector, and read from there the next time on such a device.

    Args:
      detector: a workdir of `detect`.
      config: of the job `evaluate`.
    """
    file, device = detector / RECORD, jax.devices()[0].device_kind
    known = read_json_object(file) if file.exists() else {}
    if known.get("device") == device:
        return known["seconds"]
    trained = TrainedDetector(detector, make_mesh(), config)
    detection = trained.detection

    parameters = trained.parameters("last")

    @jax.jit
    def score(parameters, frozen, images):
        return detection.logits(parameters, images, detection.residual_images(frozen, images))

    side = detection.settings.model.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(score(parameters, trained.frozen, pixels))
        times.append((time.perf_counter() - start) / BATCH)
    seconds = statistics.median(times[1:])
    write_json(file, {"seconds": seconds, "batch": BATCH, "device": device})
    return seconds
