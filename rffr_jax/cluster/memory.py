"""The number of MAE passes that are computed at once, so that their activations fit."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.typing import DTypeLike

from rffr_jax.models.sizes import ModelSettings

CPU_BYTES = 32 * 2**20
"""Activations at once on a CPU. Measured on 2 cores (docs/benchmarks.md): more are slower because
they do not fit the caches, fewer make the matrices too small."""

SHARE_OF_FREE = 0.5
"""Share of an accelerator's free memory; the estimate leaves the rest out."""

VALUES_A_PIXEL = 700
"""Activations of an Xception's training step for each pixel of its images."""

_MIB = 2**20


def passes_at_once(settings: ModelSettings, dtype: DTypeLike, images: int) -> int:
    """The number of passes of each image to compute at once, at least 1.

    It follows from the memory that is free now (GPU, TPU) or from `CPU_BYTES`. All processes of a
    run must call this; they get the same number.

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


def _available_bytes() -> int:
    statistics = jax.local_devices()[0].memory_stats()
    if jax.default_backend() == "cpu" or not statistics:
        return CPU_BYTES
    free = statistics["bytes_limit"] - statistics["bytes_in_use"]
    if jax.process_count() > 1:
        with jax.ensure_compile_time_eval():
            all_free = multihost_utils.process_allgather(np.array([free // _MIB], np.int32))
        free = int(np.min(all_free)) * _MIB
    return int(SHARE_OF_FREE * free)


def training_step_bytes(settings: ModelSettings, images: int) -> int:
    """Temporary memory of a training step in float32 in bytes, roughly: activations of all layers.

    Args:
      images: that are computed at a time.
    """
    shape, tokens = settings.shape, 1 + settings.grid**2
    layers = (
        (shape.depth, shape.width, shape.heads),
        (shape.decoder_depth, shape.decoder_width, shape.decoder_heads),
    )
    values = sum(depth * (24 * tokens * w + 3 * h * tokens**2) for depth, w, h in layers)
    return 4 * images * values


def rival_step_bytes(image_size: int, images: int) -> int:
    """The same of a convolutional rival, whatever its width: about that of a whole Xception."""
    return 4 * images * VALUES_A_PIXEL * image_size**2
