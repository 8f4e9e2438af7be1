"""Residuals of images that lie on eight devices: nothing is collected, and rows keep their order.

A process of its own, because the number of devices is fixed when JAX starts.
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

PROGRAM = """
import re
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from rffr_jax import residual
from rffr_jax.blocks import BlockGrid, draw_blocks
from rffr_jax.detection import Detection, DetectionSettings, unit_range
from rffr_jax.kept_residuals import KeptResiduals
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.sharding import all_rows, batch_sharding, local_rows, make_mesh, put_batch

assert jax.device_count() == 8
COLLECTIVE = "all-gather|all-to-all|all-reduce|collective-permute|reduce-scatter"
mesh = make_mesh()
sharding = batch_sharding(mesh)
tiny = ModelSettings("tiny", 48, 12)
ones = (1.0, 1.0, 1.0)
settings = DetectionSettings(tiny, tiny, "both", "random", "mae", 2, 4.0, ones, ones)
detection = Detection(settings, jnp.float32)
model = MAE(tiny, dtype=jnp.float32, rngs=nnx.Rngs(0))
mae = nnx.to_pure_dict(nnx.state(model, nnx.Param))
images = np.random.default_rng(0).integers(0, 256, (16, 48, 48, 3), dtype=np.uint8)
images[:, 0, 0, 0] = np.arange(16)
on_mesh = put_batch({"image": images}, mesh)["image"]
assert len(on_mesh.addressable_shards) == 8

def has_rows_on_all_devices(array):
    assert array.sharding.is_equivalent_to(sharding, array.ndim), array.sharding

# ---- rows
np.testing.assert_array_equal(local_rows(on_mesh), images)
np.testing.assert_array_equal(all_rows(on_mesh), images)

# ---- whole residual images, as tests and validations compute them
compute = KeptResiduals(detection, mae, mesh).compute
text = compute.lower(mae, on_mesh).compile().as_text()
assert not re.search(COLLECTIVE, text), "residual images are collected"
whole = compute(mae, on_mesh)
has_rows_on_all_devices(whole)
alone = jax.jit(detection.residual_images)(mae, images)
whole = detection.residual_images_of(local_rows(whole))
np.testing.assert_allclose(np.asarray(whole), np.asarray(alone), atol=6e-4)

# ---- however many passes at a time, and blocks in a pass
for per_pass, at_once in ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2)):
    grid = BlockGrid(4, 2, per_pass)

    @jax.jit
    def inpainted(images):
        return residual.inpaint(model, grid, unit_range(images), at_once)

    text = inpainted.lower(on_mesh).compile().as_text()
    assert not re.search(COLLECTIVE, text), f"collected: {per_pass} a pass, {at_once} at once"
    has_rows_on_all_devices(inpainted(on_mesh))

# ---- chosen blocks, as trainings compute them; groups are as large as a device's share
counts = (1, 3)
chosen = draw_blocks(4, 3, 0, 0, 16).astype(np.int32)
chosen_on_mesh = put_batch({"chosen": chosen}, mesh)["chosen"]

@jax.jit
def patches(images, chosen):
    return residual.residual_patches(model, detection.blocks, unit_range(images), chosen, counts)[0]

text = patches.lower(on_mesh, chosen_on_mesh).compile().as_text()
assert not re.search(COLLECTIVE, text), "chosen residuals are collected"
apart, together = patches(on_mesh, chosen_on_mesh), patches(images, chosen)
has_rows_on_all_devices(apart)
for row in range(16):
    used = counts[row % 2] * detection.blocks.side**2
    np.testing.assert_allclose(
        local_rows(apart)[row, :used], np.asarray(together)[row, :used], atol=1e-4
    )

# ---- the search finds a collection where there is one
spread = jax.jit(lambda x: x[::-1] * 2, out_shardings=sharding).lower(on_mesh).compile().as_text()
assert re.search(COLLECTIVE, spread)
print("held")
"""


@pytest.mark.slow
def test_residuals_of_eight_devices_are_never_collected():
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "held\n"
