"""Residuals on eight devices: nothing but split parameters is sent, and rows keep their order.

A process of its own, because the number of devices is fixed when JAX starts.
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]

PROGRAM = """
import re
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from rffr_jax.method import residual
from rffr_jax.method.blocks import BlockGrid, sample_blocks
from rffr_jax.method.detection import Detection, unit_range
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.residual_cache import ResidualCache
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.cluster.sharding import (
    all_rows, batch_sharding, local_rows, make_mesh, parameter_shardings, put_batch,
    all_gather_parameters
)

jax.config.update("jax_disable_most_optimizations", True)
assert jax.device_count() == 8
KINDS = "all-gather|all-to-all|all-reduce|collective-permute|reduce-scatter"
ROWS = 40  # 5 a device: a number that no parameter has as a size
tiny = ModelSettings("tiny", 48, 12)
ones = (1.0, 1.0, 1.0)
settings = DetectionSettings(tiny, tiny, "both", "random", "mae", 2, 4.0, ones, ones)
detection = Detection(settings, jnp.float32)
definition, abstract = abstract_mae(tiny, jnp.float32)
model = MAE(tiny, dtype=jnp.float32, rngs=nnx.Rngs(0))
on_host = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
images = np.random.default_rng(0).integers(0, 256, (ROWS, 48, 48, 3), dtype=np.uint8)
images[:, 0, 0, 0] = np.arange(ROWS)
counts = (1, 3, 2, 1, 2)  # groups as large as a device's share
chosen = sample_blocks(4, 3, 0, 0, ROWS).astype(np.int32)
alone = np.asarray(jax.jit(detection.residual_images)(on_host, images))

@jax.jit
def patches_alone(images):
    return residual.residual_patches(model, detection.blocks, unit_range(images), chosen, counts)[0]

together = np.asarray(patches_alone(images))


def collected(text):
    found = []
    for line in text.splitlines():
        match = re.search(f" = (.*?) ({KINDS})[a-z-]*\\(", line)
        if match:
            shapes = re.findall(r"\\w+\\[([\\d,]*)\\]", match[1])
            found += [(match[2], tuple(map(int, shape.split(",")))) for shape in shapes if shape]
    return found


for fsdp in (1, 8, 2):
    mesh = make_mesh(fsdp)
    assert dict(mesh.shape) == {"data": 8 // fsdp, "fsdp": fsdp}
    sharding = batch_sharding(mesh)
    mae = jax.device_put(on_host, parameter_shardings(abstract, mesh))
    leaves = jax.tree.leaves(mae)
    split = [leaf.shape for leaf in leaves if not leaf.sharding.is_fully_replicated]
    assert len(split) == (0 if fsdp == 1 else 11), split
    on_mesh = put_batch({"image": images}, mesh)["image"]
    assert len(on_mesh.addressable_shards) == 8

    def check(text, result):
        assert result.sharding.is_equivalent_to(sharding, result.ndim), result.sharding
        # What lies split is gathered once each, and nothing else is sent anywhere.
        assert sorted(collected(text)) == sorted(("all-gather", shape) for shape in split)

    # ---- rows
    np.testing.assert_array_equal(local_rows(on_mesh), images)
    np.testing.assert_array_equal(all_rows(on_mesh), images)

    # ---- whole residual images, as tests and validations compute them
    compute = ResidualCache(detection, mae, mesh).compute
    differences = compute(mae, on_mesh)
    check(compute.lower(mae, on_mesh).compile().as_text(), differences)
    whole_images = detection.residual_images_from_differences(local_rows(differences))
    np.testing.assert_allclose(np.asarray(whole_images), alone, atol=6e-4)

    # ---- however many passes at a time, and blocks in a pass
    for per_pass, at_once in ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2)):
        grid = BlockGrid(4, 2, per_pass)

        @jax.jit
        def inpainted(mae, images):
            model = nnx.merge(definition, nnx.State(all_gather_parameters(mae, mesh)))
            return residual.inpaint(model, grid, unit_range(images), at_once)

        check(inpainted.lower(mae, on_mesh).compile().as_text(), inpainted(mae, on_mesh))

    # ---- chosen blocks, as trainings compute them
    chosen_on_mesh = put_batch({"chosen": chosen}, mesh)["chosen"]

    for at_once in (None, 2):

        @jax.jit
        def patches(mae, images, chosen):
            model = nnx.merge(definition, nnx.State(all_gather_parameters(mae, mesh)))
            images = unit_range(images)
            return residual.residual_patches(
                model, detection.blocks, images, chosen, counts, at_once=at_once
            )[0]

        apart = local_rows(patches(mae, on_mesh, chosen_on_mesh))
        check(
            patches.lower(mae, on_mesh, chosen_on_mesh).compile().as_text(),
            patches(mae, on_mesh, chosen_on_mesh),
        )
        for row in range(ROWS):
            used = counts[row % len(counts)] * detection.blocks.side**2
            np.testing.assert_allclose(apart[row, :used], together[row, :used], atol=1e-4)

# ---- the search finds a collection where there is one, and one of activations above all
spread = jax.jit(lambda x: x[::-1] * 2, out_shardings=sharding).lower(on_mesh).compile().as_text()
assert collected(spread)
activations = jax.jit(detection.differences, out_shardings=sharding)
found = collected(activations.lower(mae, on_mesh).compile().as_text())
assert set(found) - {("all-gather", shape) for shape in split}, "the gather is not needed any more"
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
