"""Batch normalisation on four devices is that of the whole batch.

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
from rffr_jax.rivals.xception import Settings
from rffr_jax.cluster.sharding import make_mesh, parameter_shardings, put_batch
from rffr_jax.training.step import init_training_state, make_step

jax.config.update("jax_disable_most_optimizations", True)
assert jax.device_count() == 4
ones = (1.0, 1.0, 1.0)
settings = DetectionSettings(
    ModelSettings("tiny", 36, 36), None, "original", "full", "mae", 1, 4.0, ones, ones,
    backbone="xception", rival=Settings(1 / 16, 1),
)
detection = Detection(settings, jnp.float32)
start = jax.device_get(jax.jit(detection.init_parameters, static_argnums=0)(0))
rng = np.random.default_rng(0)
batch = {
    "image": rng.integers(0, 256, (8, 36, 36, 3), dtype=np.uint8),
    "label": rng.integers(0, 2, 8).astype(np.int32),
    "weight": np.array([1, 1, 1, 0, 1, 1, 1, 1], np.float32),
}


def losses(parameters, frozen, batch):
    seeds = jnp.zeros(len(batch["label"]), jnp.uint32)
    return detection.rival_losses(
        parameters, batch["image"], batch["label"], batch["weight"], seeds
    )


def stepped(mesh, parameters, batch):
    optimizer = optax.sgd(1e-3)
    step = jax.jit(make_step(losses, optimizer, mesh, micro_batches=1, ema_decay=0.0))
    state = {"parameters": parameters, **init_training_state(optimizer, 0.0, parameters)}
    return jax.device_get(step(state, {}, batch)["parameters"])


alone = stepped(make_mesh(), start, batch)
for fsdp in (1, 4):
    mesh = make_mesh(fsdp)
    shardings = parameter_shardings(detection.abstract_parameters, mesh)
    parameters = jax.device_put(start, shardings)
    together = stepped(mesh, parameters, put_batch(batch, mesh))
    for name in ("stem1", "exit3"):
        for part in ("mean", "var"):
            values = [tree["backbone"][name]["norm"][part] for tree in (start, alone, together)]
            assert np.abs(values[1] - values[0]).max() > 1e-3
            np.testing.assert_allclose(values[2], values[1], rtol=1e-3, atol=1e-5)
    close = dict(rtol=1e-2, atol=1e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), alone, together)
print("the same")
"""


@pytest.mark.slow
def test_statistics_are_those_of_the_whole_batch():
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
