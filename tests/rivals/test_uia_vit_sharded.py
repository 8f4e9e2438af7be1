"""UIA-ViT's Gaussians on four devices are those of the whole batch.

A process of its own, because the number of devices is fixed when JAX starts.
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np, optax
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.rivals.uia_vit import Detector, Settings
from rffr_jax.cluster import memory
from rffr_jax.cluster.sharding import make_mesh, parameter_shardings, put_batch
from rffr_jax.training.step import init_training_state, make_step

jax.config.update("jax_disable_most_optimizations", True)
assert jax.device_count() == 4
ones = (1.0, 1.0, 1.0)
settings = DetectionSettings(
    ModelSettings("tiny", 24, 24), None, "original", "full", "mae", 1, 4.0, ones, ones,
    backbone="uia_vit", rival=Settings("tiny", 6),
)
detection = Detection(settings, jnp.float32)
start = jax.device_get(jax.jit(detection.init_parameters, static_argnums=0)(0))
rng = np.random.default_rng(0)
batch = {
    "image": rng.integers(0, 256, (16, 24, 24, 3), dtype=np.uint8),
    "label": np.arange(16, dtype=np.int32) % 2,
    "weight": np.array([1, 1, 1, 0] + 12 * [1], np.float32),
}


def losses(parameters, frozen, batch):
    seeds = jnp.zeros(len(batch["label"]), jnp.uint32)
    return detection.rival_losses(
        parameters, batch["image"], batch["label"], batch["weight"], seeds,
        jnp.max(batch["progress"]),
    )


def stepped(mesh, parameters, put, micro_batches=1):
    optimizer = optax.sgd(1e-3)
    step = jax.jit(
        make_step(losses, optimizer, mesh, micro_batches=micro_batches, ema_decay=0.0)
    )
    names = Detector.loss_names
    state = {"parameters": parameters, **init_training_state(optimizer, 0.0, parameters, names)}
    for number in range(2):
        progress = np.full(16, number / 2, np.float32)
        state = step(state, {}, put({**batch, "progress": progress}))
    return jax.device_get(state["parameters"])


alone = stepped(make_mesh(), start, lambda batch: batch)
assert alone["real"]["count"] == 8 * 16
assert alone["fake"]["count"] == 7 * 4
assert np.abs(alone["real"]["whitening"]).max() > 0
for fsdp, share in ((1, 1.0), (4, 1.0), (4, 0.0)):
    memory.SHARE_OF_DEVICE = share  # none: each layer is gathered alone
    mesh = make_mesh(fsdp)
    shardings = parameter_shardings(detection.abstract_parameters, mesh)
    parameters = jax.device_put(start, shardings)
    together = stepped(mesh, parameters, lambda batch: put_batch(batch, mesh))
    close = dict(rtol=1e-3, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), alone, together)
mesh = make_mesh()
parts = stepped(mesh, start, lambda batch: put_batch(batch, mesh), micro_batches=2)
np.testing.assert_allclose(parts["real"]["mean"], alone["real"]["mean"], rtol=1e-4, atol=1e-5)
print("the same")
"""


@pytest.mark.slow
def test_gaussians_are_those_of_the_whole_batch():
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "the same"
