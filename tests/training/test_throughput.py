"""Rates of the log: pauses are left out, and the share of a known device's peak is there."""

import types

import jax
import jax.numpy as jnp
import pytest

from rffr_jax.training import throughput
from rffr_jax.training.throughput import Throughput, data_sheet


@pytest.mark.parametrize(
    ("device", "dtype", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4),
        ("NVIDIA H100 PCIe", "bfloat16", 756.0),
        ("NVIDIA H200", "tf32", 494.7),
        ("NVIDIA A100-SXM4-80GB", "float32", 19.5),
    ],
)
def test_data_sheets(device, dtype, teraflops):
    assert data_sheet(device, dtype) == pytest.approx(teraflops * 1e12)


def test_an_unknown_device_has_no_data_sheet():
    assert data_sheet("AMD EPYC", "float32") is None


def two_steps(monkeypatch, device, dtype):
    """The rates of two steps of 8 images and 3 TFLOP: 4 s of training, 1 of them waiting."""
    now = [100.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(device_kind=device)])
    measured = Throughput(8, dtype)
    for seconds in (1.0, 2.0):
        with measured.waiting_for_data():
            now[0] += 0.5
        now[0] += seconds
        measured.step(3 * 10**12)
        with measured.pause():  # a pause after the first step takes nothing from its rates
            now[0] += 1000.0
    return measured.read()


def test_pauses_are_no_training_time(monkeypatch):
    values = two_steps(monkeypatch, "AMD EPYC", jnp.float32)
    assert values["seconds"] == 4.0
    assert values["images_per_second"] == 4.0
    assert values["seconds_waited_for_data"] == 1.0
    assert values["tflops_per_device"] == pytest.approx(1.5 / jax.device_count())
    assert "mfu" not in values


@pytest.mark.parametrize(("dtype", "peak"), [(jnp.bfloat16, 989.4), (jnp.float32, 494.7)])
def test_utilisation_is_the_share_of_the_peak_of_the_compute_type(monkeypatch, dtype, peak):
    values = two_steps(monkeypatch, "NVIDIA H100 80GB HBM3", dtype)
    assert values["mfu"] == pytest.approx(1.5 / peak / jax.device_count())


def test_the_wait_for_data_is_a_share_of_the_time(monkeypatch):
    clock = iter([0.0, 1.0, 9.0, 10.0, 10.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    measured = Throughput(4, jnp.float32)
    for _ in range(20):
        measured.step(0)
    with measured.waiting_for_data():
        pass
    assert measured.share_waited == 0.8
    assert measured.rates() == (10.0, 2.0)  # 20 steps in 2 of the 10 seconds
