"""How long a trained detector takes for an image, residual included (the paper's Table 9)."""

import pathlib
import statistics
import time

import jax
import numpy as np

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.method.detection import Detection, DetectionSettings
from rffr_jax.models.sizes import compute_dtype
from rffr_jax.runs.atomic_files import read_json_object, write_json
from rffr_jax.runs.checkpoints.weights import load_frozen, load_weights, read_about

BATCH, REPEATS = 8, 5
RECORD = "inference_seconds.json"


def measure_inference_time(detector: pathlib.Path) -> float:
    """Median over repeats of one compiled call on a batch, after one that compiles, an image.

    Written beside the detector, with the device, and read from there the next time.

    Args:
      detector: a workdir of `detect`.
    """
    file = detector / RECORD
    if file.exists():
        return read_json_object(file)["seconds"]
    settings = DetectionSettings.from_json(
        read_about(detector, "detector", "detector")["detection"]
    )
    detection, mesh = Detection(settings, compute_dtype("auto")), make_mesh()
    parameters = load_weights(detector, "detector", detection.abstract_parameters, mesh)
    frozen = {}
    if settings.autoencoder:
        frozen = load_frozen(
            detector, settings.autoencoder, "detector", detection.abstract_frozen, mesh
        )

    @jax.jit
    def score(parameters, frozen, images):
        return detection.logits(parameters, images, detection.residual_images(frozen, images))

    side = settings.model.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(score(parameters, frozen, pixels))
        times.append((time.perf_counter() - start) / BATCH)
    seconds = statistics.median(times[1:])
    record = {"seconds": seconds, "batch": BATCH, "device": jax.devices()[0].device_kind}
    write_json(file, record)
    return seconds
