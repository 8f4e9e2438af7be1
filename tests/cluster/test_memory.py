"""How many passes at a time: the arithmetic, and the estimate beside what XLA plans."""

import types

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from rffr_jax.cluster import memory
from rffr_jax.cluster.memory import bytes_per_pass, passes_at_once, passes_that_fit
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.residual import inpaint_all_blocks
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings

VIT_B16 = ModelSettings("vit_b16", 224, 16)


@pytest.mark.parametrize(
    ("available", "per_pass", "images", "expected"),
    [
        (100, 10, 1, 10),
        (100, 10, 2, 5),
        (100, 10, 3, 3),
        (99, 10, 1, 9),
        (5, 10, 1, 1),
        (0, 9, 4, 1),
    ],
)
def test_passes_that_fit(available, per_pass, images, expected):
    assert passes_that_fit(available, per_pass, images) == expected


def test_on_a_cpu_the_measured_amount_is_taken():
    per_pass = bytes_per_pass(VIT_B16, jnp.float32)
    images = memory.CPU_BYTES // (2 * per_pass)
    assert passes_at_once(VIT_B16, jnp.float32, images) >= 2
    assert passes_at_once(VIT_B16, jnp.float32, 1000) == 1


def test_on_an_accelerator_a_share_of_its_memory_is_taken_whatever_is_free(monkeypatch):
    per_pass = bytes_per_pass(VIT_B16, jnp.bfloat16)
    statistics = {"bytes_limit": 128 * per_pass, "bytes_in_use": 36 * per_pass}
    device = types.SimpleNamespace(memory_stats=lambda: statistics)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert passes_at_once(VIT_B16, jnp.bfloat16, 8) == 8  # 32 passes of 4 images on each device
    statistics["bytes_in_use"] = 127 * per_pass
    assert passes_at_once(VIT_B16, jnp.bfloat16, 8) == 8


def test_an_accelerator_that_does_not_know_its_memory_is_taken_for_a_cpu(monkeypatch):
    on_a_cpu = passes_at_once(VIT_B16, jnp.float32, 1)
    device = types.SimpleNamespace(memory_stats=lambda: None)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert passes_at_once(VIT_B16, jnp.float32, 1) == on_a_cpu


def test_the_smallest_device_of_all_processes_counts(monkeypatch):
    monkeypatch.setattr(memory, "_agreed_bytes", 0)
    monkeypatch.setattr(memory.processes, "all_gather_objects", lambda mine: [9_000, 3_000, mine])
    assert memory.device_bytes() > 10_000
    memory.agree_on_device_memory()
    assert memory.device_bytes() == 3_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "image_size", "patch_size"), [("mini", 64, 8), ("vit_ti16", 112, 8)]
)
def test_a_pass_takes_no_more_than_the_estimate_and_no_less_than_a_third(
    size, image_size, patch_size
):
    settings = ModelSettings(size, image_size, patch_size)
    blocks = BlockGrid(settings.grid, 4)
    definition, parameters = abstract_mae(settings, jnp.float32)
    images = jax.ShapeDtypeStruct((4, image_size, image_size, 3), jnp.float32)

    def planned(at_once):
        def inpaint(parameters, images):
            mae = nnx.merge(definition, nnx.State(parameters))
            return inpaint_all_blocks(mae, blocks, images, at_once)

        plan = jax.jit(inpaint).lower(parameters, images).compile().memory_analysis()
        assert plan is not None
        return plan.temp_size_in_bytes

    measured = (planned(16) - planned(4)) / (12 * 4)
    assert measured <= bytes_per_pass(settings, jnp.float32) <= 3 * measured
