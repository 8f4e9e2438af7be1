"""Images and FLOPs a second of a training, and the share of the device's peak (MFU)."""

import contextlib
import time
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

# TFLOP/s of dense matrices on the data sheets, by a part of the device's name; the first fits.
DATA_SHEETS: Mapping[str, Mapping[str, float]] = {
    "H200": {"bfloat16": 989.4, "tf32": 494.7, "float32": 67.0},
    "H100 PCIe": {"bfloat16": 756.0, "tf32": 378.0, "float32": 51.0},
    "H100 NVL": {"bfloat16": 835.0, "tf32": 417.5, "float32": 60.0},
    "H100": {"bfloat16": 989.4, "tf32": 494.7, "float32": 67.0},
    "A100": {"bfloat16": 312.0, "tf32": 156.0, "float32": 19.5},
    "L40S": {"bfloat16": 362.0, "tf32": 183.0, "float32": 91.6},
    "A10G": {"bfloat16": 70.0, "tf32": 35.0, "float32": 35.0},
}


def data_sheet(device: str, dtype: str) -> float | None:
    """Peak FLOP/s of a GPU that `DATA_SHEETS` knows; None for any other device."""
    for name, rates in DATA_SHEETS.items():
        if all(part in device for part in name.split()):
            return rates[dtype] * 1e12
    return None


class Throughput:
    """Counts the steps since the last reading and their seconds, without those of pauses."""

    def __init__(self, batch_size: int, dtype: DTypeLike):
        """Args:
        dtype: what matrices are multiplied in; float32 is TF32 on a GPU.
        """
        kind = "bfloat16" if np.dtype(dtype) == jnp.bfloat16 else "tf32"
        self._peak = data_sheet(jax.devices()[0].device_kind, kind)
        self._batch_size = batch_size
        self._restart()

    def step(self, flops: int):
        """Counts a step of so many matrix FLOPs, over all devices."""
        self._steps += 1
        self._flops += flops

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Inside, the training waits for its next batch."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Inside, time is not training time: evaluations and saves."""
        began = time.perf_counter()
        yield
        self._since += time.perf_counter() - began

    @property
    def share_waited(self) -> float:
        """The share of the time in which no step ran because its batch was not there."""
        return self._waited / (time.perf_counter() - self._since)

    def rates(self) -> tuple[float, float]:
        """Steps a second without any waiting, and batches a second as they came."""
        seconds = time.perf_counter() - self._since
        return self._steps / max(seconds - self._waited, 1e-9), self._steps / seconds

    def read(self) -> dict[str, float]:
        """The numbers of the log since the last reading, and a new start.

        `mfu`, the model FLOPs utilisation, is among them where the device's peak is known.
        """
        seconds = time.perf_counter() - self._since
        flops = self._flops / seconds / jax.device_count()
        values = {
            "seconds": seconds,
            "images_per_second": self._steps * self._batch_size / seconds,
            "tflops_per_device": flops / 1e12,
            **({"mfu": flops / self._peak} if self._peak else {}),
            "seconds_waited_for_data": self._waited,
        }
        self._restart()
        return values

    def _restart(self):
        self._since = time.perf_counter()
        self._steps, self._flops, self._waited = 0, 0, 0.0
