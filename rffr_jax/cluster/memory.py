"""The number of MAE passes that are computed at once, so that their activations fit."""

import os

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import PyTree

from rffr_jax.cluster import processes
from rffr_jax.models.sizes import ModelSettings

CPU_BYTES = 32 * 2**20
"""Activations at once on a CPU. Measured on 2 cores (docs/benchmarks.md): more are slower because
they do not fit the caches, fewer make the matrices too small."""

SHARE_OF_DEVICE = 0.25
"""Share of an accelerator's memory, whatever is free of it now: so a program that was compiled once
is found again. Weights, optimizer and batches have the rest."""

_agreed_bytes = 0


def passes_at_once(settings: ModelSettings, dtype: DTypeLike, images: int) -> int:
    """The number of passes of each image to compute at once, at least 1.

    It follows from the size of a device's memory (GPU, TPU) or from `CPU_BYTES`. Processes of a run
    get the same number once they have called `agree_on_device_memory`.

    Args:
      settings: of the MAE.
      dtype: of its activations.
      images: of the global batch; each device has its share.
    """
    share = -(-images // jax.device_count())
    return passes_that_fit(_available_bytes(), bytes_per_pass(settings, dtype), share)


def passes_that_fit(available: int, per_pass: int, images: int) -> int:
    """Passes of each image, at least 1, of which those of all images take no more than
    `available` bytes where one takes `per_pass`."""
    return max(1, available // (per_pass * images))


def bytes_per_pass(settings: ModelSettings, dtype: DTypeLike) -> int:
    """The largest activations of one MAE pass over one image in bytes, an upper estimate.

    An MLP holds its input, the norm of it and two arrays four times as wide; an attention its
    input, queries, keys, values and output, and for every head the float32 logits and weights.
    """
    shape, tokens = settings.shape, 1 + settings.grid**2
    item = jnp.dtype(dtype).itemsize
    sizes = []
    for width, heads in ((shape.width, shape.heads), (shape.decoder_width, shape.decoder_heads)):
        stream = tokens * width * item
        sizes += [10 * stream, 5 * stream + 2 * heads * tokens**2 * 4]
    return max(sizes)


def agree_on_device_memory():
    """The smallest device of all processes counts; every process calls this before it compiles."""
    global _agreed_bytes
    _agreed_bytes = min(processes.all_gather_objects(device_bytes()))


def device_bytes() -> int:
    """Memory of the smallest device; of a CPU its share of the machine's."""
    if _agreed_bytes:
        return _agreed_bytes
    statistics = [device.memory_stats() for device in jax.local_devices()]
    if jax.default_backend() == "cpu" or not all(statistics):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(statistics)
    return min(found["bytes_limit"] for found in statistics)


def _available_bytes() -> int:
    is_known = jax.default_backend() != "cpu" and jax.local_devices()[0].memory_stats()
    return int(SHARE_OF_DEVICE * device_bytes()) if is_known else CPU_BYTES


def gathers_each_layer(parameters: PyTree, frozen: PyTree) -> bool:
    """Whether split parameters are gathered one layer at a time, and not all at once.

    All at once is faster: it sends them once a step, and not once forward and once backward. It
    needs room for whole weights and whole gradients beside activations: `SHARE_OF_DEVICE`.
    """
    trained, fixed = (
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
        for tree in (parameters, frozen)
    )
    return 2 * trained + fixed > SHARE_OF_DEVICE * device_bytes()
