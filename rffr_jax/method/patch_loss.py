"""A loss on patches: is this patch manipulated? It is ours and not the paper's."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from rffr_jax.models.layers import take_patches


class PatchLogits(NamedTuple):
    """What a detector says of the patches that it reads.

    Attributes:
      logits: of being manipulated.
      indices: places of the patches on the grid.
      lengths: number of patches of each image; the rest is padding. None: all of them.
    """

    logits: Float[Array, "batch chosen"]
    indices: Int[Array, "batch chosen"] | Int[Array, " chosen"]
    lengths: Int[Array, " batch"] | None


def patch_losses(
    patches: PatchLogits, manipulated: Float[Array, "batch patches"]
) -> Float[Array, " batch"]:
    """Binary cross-entropy of each image, the mean over the patches that the detector reads.

    Args:
      manipulated: the share of every patch of the image that is manipulated, 0 to 1.
    """
    targets = take_patches(manipulated[..., None], patches.indices)[..., 0]
    losses = optax.sigmoid_binary_cross_entropy(patches.logits, targets)
    if patches.lengths is None:
        return losses.mean(axis=1)
    read = jnp.arange(losses.shape[1]) < patches.lengths[:, None]
    return jnp.sum(losses, axis=1, where=read) / patches.lengths
