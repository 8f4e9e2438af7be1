"""The machine and the versions that a benchmark ran on."""

import concurrent.futures
import importlib.metadata
import multiprocessing
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "transformers")
ENVIRONMENT = (
    "XLA_FLAGS",
    "OMP_NUM_THREADS",
    "RFFR_JAX_KEEP_MEMORY",
)
"""Variables that change what is measured."""


def accelerator() -> str | None:
    """The name of the first GPU or TPU that JAX sees; None where there are only CPUs.

    Asked in a process of its own: this one takes no memory of the device.
    """
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_first_accelerator).result()


def _first_accelerator() -> str | None:
    import jax

    device = jax.devices()[0]
    return None if device.platform == "cpu" else device.device_kind


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def description(device: str | None) -> dict[str, Any]:
    """Device, cores, load and versions; nothing that names the machine or its user."""
    return {
        "device": device or processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": os.getloadavg()[0],
        "versions": {"Python": platform.python_version(), **_versions()},
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    }


def huggingface_names() -> str:
    """What the installed transformers calls a MAE's arrays, by `rffr_jax.convert.tables`."""
    version = _versions().get("transformers", "5")
    return "hf4" if version.startswith("4.") else "hf"


def missing_peers() -> list[str]:
    """What the other side needs and is not installed."""
    there = _versions()
    return [name for name in ("torch", "transformers") if name not in there]


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
