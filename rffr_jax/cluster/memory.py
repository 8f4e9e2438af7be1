"""How many passes of the MAE are worked out at a time, so that their activations fit."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.typing import DTypeLike

from rffr_jax.models.sizes import ModelSettings

CPU_BYTES = 32 * 2**20
"""Activations at a time on a CPU. Measured on 2 cores (docs/benchmarks.md): more of them leave the
caches and are slower, fewer make the matrices too small."""

SHARE_OF_FREE = 0.5
"""Of an accelerator's free memory: the rest is for what the estimate leaves out."""

_MIB = 2**20


def passes_at_once(settings: ModelSettings, dtype: DTypeLike, images: int) -> int:
    """How many passes of each of so many images to work out beside each other, at least 1.

    On a GPU or TPU it follows from the memory that is free when this is called, on a CPU from
    `CPU_BYTES`. Processes of one run get the same answer, so all must ask.

    Args:
      settings: of the MAE.
      dtype: what it computes in.
      images: of the global batch; each device has its share of them.
    """
    share = -(-images // jax.device_count())
    return passes_that_fit(_available_bytes(), bytes_per_pass(settings, dtype), share)


def passes_that_fit(available: int, per_pass: int, images: int) -> int:
    """Passes of each image, at least 1, of which those of all images take no more than
    `available` bytes where one takes `per_pass`."""
    return max(1, available // (per_pass * images))


def bytes_per_pass(settings: ModelSettings, dtype: DTypeLike) -> int:
    """Activations of one MAE pass over one image where they are largest, an estimate from above.

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


def _available_bytes() -> int:
    statistics = jax.local_devices()[0].memory_stats()
    if jax.default_backend() == "cpu" or not statistics:
        return CPU_BYTES
    free = statistics["bytes_limit"] - statistics["bytes_in_use"]
    if jax.process_count() > 1:
        with jax.ensure_compile_time_eval():
            everybodys = multihost_utils.process_allgather(np.array([free // _MIB], np.int32))
        free = int(np.min(everybodys)) * _MIB
    return int(SHARE_OF_FREE * free)
