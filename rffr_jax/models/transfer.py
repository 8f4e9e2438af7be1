"""Weights of one model as the start of another."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from rffr_jax.models.layers import sincos_positions
from rffr_jax.models.sizes import ModelSettings


def replace_leaves(tree: PyTree, part: PyTree) -> PyTree:
    """A tree of dictionaries, with the leaves of a smaller tree `part` in their places."""
    if not isinstance(tree, dict):
        return part
    return {
        name: replace_leaves(entry, part[name]) if name in part else entry
        for name, entry in tree.items()
    }


def vit_from_mae(encoder: PyTree, settings: ModelSettings) -> PyTree:
    """The parameters of a `ViT` that computes the same as the MAE's encoder with nothing hidden.

    Its learned positions start as the MAE's fixed ones, and it reads pixels in [0, 1] as the MAE
    does; `fold_normalisation` changes that.

    Args:
      encoder: parameters of a `MAE` of the same settings.
    """
    positions = sincos_positions(settings.grid, settings.shape.width)
    return {
        "embedding": encoder["embedding"],
        "class_token": encoder["class_token"],
        "positions": jnp.concatenate([jnp.zeros_like(positions[:1]), positions]),
        "transformer": encoder["encoder"],
        "norm": encoder["encoder_norm"],
    }


def fold_normalisation(embedding: PyTree, mean: Sequence[float], std: Sequence[float]) -> PyTree:
    """A patch embedding made for pixels in [0, 1], for pixels (p - mean) / std.

    Args:
      embedding: `kernel` [pixels, width] and `bias` [width]; pixels end in the colour channel.
      mean, std: one number a channel.
    """
    kernel = embedding["kernel"]
    repeats = len(kernel) // 3
    means, stds = jnp.tile(jnp.asarray(mean), repeats), jnp.tile(jnp.asarray(std), repeats)
    shift = jnp.matmul(means, kernel, precision="highest")  # in float32 on every device
    return {"kernel": kernel * stds[:, None], "bias": embedding["bias"] + shift}


def resize_positions(
    positions: Float[Array, "tokens width"], grid: int
) -> Float[Array, "new_tokens width"]:
    """Learned positions of a class token and a square grid, for a grid of another side.

    The class token's stays; those of the patches are interpolated (bicubic, with a wider filter
    where the new grid is coarser).
    """
    first, patches = positions[:1], positions[1:]
    side = round(len(patches) ** 0.5)
    if side == grid:
        return positions
    width = positions.shape[-1]
    square = patches.reshape(side, side, width)
    resized = jax.image.resize(square, (grid, grid, width), "bicubic", antialias=True)
    return jnp.concatenate([first, resized.reshape(grid * grid, width)])
