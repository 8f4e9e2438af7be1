"""Frozen MAE + blocks -> inpainted image, residual image.

Each block is hidden in turn, inpainted from the rest and compared with what was there:
R = alpha (B_hat - B), equation 5 of the paper, clipped to [-1, 1] and taken in float32 whatever
the MAE computes in. Where no block reaches, the residual is zero.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rffr_jax.method.blocks import BlockGrid
from rffr_jax.models.layers import patchify, take_patches, unpatchify
from rffr_jax.models.mae import MAE

ALPHA = 4.0


def inpaint_all_blocks(
    mae: MAE,
    blocks: BlockGrid,
    images: Float[Array, "batch size size 3"],
    at_once: int | None = None,
) -> Float[Array, "batch blocks patches_in_block pixels"]:
    """Every block as the MAE would fill it in, from an image with the blocks of its pass hidden.

    The patch embedding is computed once.

    Args:
      at_once: passes of every image that are computed in parallel (`lax.map` over the rest), which
        bounds the memory; lowered to a number that divides the passes. None: all of them.
    """
    tokens = mae.embed(images)
    passes = jnp.asarray(blocks.passes[:, 0])
    fitting = _largest_divisor(len(passes), at_once or len(passes))
    if fitting == len(passes):
        inpainted = _inpaint(mae, blocks, tokens, passes)
    else:
        some_passes = functools.partial(_inpaint, mae, blocks, tokens)
        parts = jax.lax.map(some_passes, passes.reshape(-1, fitting))
        inpainted = jnp.moveaxis(parts, 0, 1)
    inpainted = inpainted.reshape(len(images), blocks.count, blocks.side**2, inpainted.shape[-1])
    if blocks.per_pass == 1:
        return inpainted
    return jnp.take(inpainted, np.argsort(blocks.passes.reshape(-1)), axis=1)


def _largest_divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, min(limit, number) + 1) if number % n == 0)


def _inpaint(
    mae: MAE,
    blocks: BlockGrid,
    tokens: Float[Array, "batch patches width"],
    chosen: Int[Array, " some"] | Int[Array, "batch some"],
) -> Float[Array, "batch some patches_in_pass pixels"]:
    """A pass for each of the chosen blocks, the same of every image or each image's own.

    The patches of the block itself come first. The `vmap` over passes is inside that over images:
    so the axis of images is in front where XLA or cuDNN merges the two, and images on several
    devices need no gather.
    """
    visible, hidden = jnp.asarray(blocks.visible), jnp.asarray(blocks.hidden_in_pass)

    def one_pass(tokens: Float[Array, "patches width"], block: Int[Array, ""]) -> Array:
        features = mae.encode(tokens, visible[block])
        return mae.decode(features, visible[block], hidden[block])

    all_passes = jax.vmap(one_pass, in_axes=(None, 0))
    return jax.vmap(all_passes, in_axes=(0, None if chosen.ndim == 1 else 0))(tokens, chosen)


def inpaint_chosen_blocks(
    mae: MAE,
    blocks: BlockGrid,
    images: Float[Array, "batch size size 3"],
    chosen: Int[Array, "batch most"],
    counts: tuple[int, ...],
    at_once: int | None = None,
) -> Float[Array, "batch most patches_in_block pixels"]:
    """The chosen blocks of each image as the MAE would fill them in; no other block is computed.

    A block is inpainted as in the whole image: where a pass hides several blocks, all of them are
    hidden here, too, and each chosen block is a pass of its own.

    Args:
      chosen: blocks of each image; of row r the first `counts[r % len(counts)]` are used.
      counts: numbers of blocks in every group of `len(counts)` rows, the largest being `most`;
        static: one program runs exactly sum(counts) MAE passes a group.
      at_once: passes of every group that are computed in parallel; None: all of them.

    Returns:
      The inpainted blocks, zero where a row has fewer than `most`.
    """
    batch, most = chosen.shape
    grouped = (batch // len(counts), len(counts))
    passes = sum(counts)
    rows = np.repeat(np.arange(len(counts)), counts)
    columns = np.concatenate([np.arange(count) for count in counts])
    pass_index = np.full(grouped[1] * most, passes)
    pass_index[rows * most + columns] = np.arange(passes)

    tokens = mae.embed(images)
    tokens = tokens.reshape(*grouped, *tokens.shape[1:])
    slots = chosen.reshape(grouped[0], -1)

    def some_passes(numbers: Int[Array, " some"]) -> Float[Array, "groups some patches pixels"]:
        row, column = jnp.asarray(rows)[numbers], jnp.asarray(columns)[numbers]
        some = jnp.take(tokens, row, axis=1)
        block = jnp.take(slots, row * most + column, axis=1).reshape(-1, 1)
        inpainted = _inpaint(mae, blocks, some.reshape(-1, *some.shape[2:]), block)
        inpainted = inpainted[:, 0, : blocks.side**2]
        return inpainted.reshape(grouped[0], len(numbers), *inpainted.shape[1:])

    inpainted = _in_parts(some_passes, passes, at_once or passes)
    padded = jnp.concatenate([inpainted, jnp.zeros_like(inpainted[:, :1])], axis=1)
    return jnp.take(padded, pass_index, axis=1).reshape(batch, most, *inpainted.shape[2:])


def _in_parts(
    some_passes: Callable[[Int[Array, " some"]], Float[Array, "groups some patches pixels"]],
    passes: int,
    at_once: int,
) -> Float[Array, "groups passes patches pixels"]:
    """`some_passes` of the numbers 0 to `passes`, at most `at_once` in parallel.

    Equal parts run under `lax.map`, and what is left of them once more.
    """
    numbers, size = jnp.arange(passes), -(-passes // -(-passes // at_once))
    if size >= passes:
        return some_passes(numbers)
    equal, left = jnp.split(numbers, [passes // size * size])
    parts = jnp.moveaxis(jax.lax.map(some_passes, equal.reshape(-1, size)), 0, 1)
    inpainted = parts.reshape(len(parts), -1, *parts.shape[3:])
    if not len(left):
        return inpainted
    return jnp.concatenate([inpainted, some_passes(left)], axis=1)


def block_differences(
    mae: MAE,
    blocks: BlockGrid,
    images: Float[Array, "batch size size 3"],
    at_once: int | None = None,
) -> Float[Array, "batch covered pixels"]:
    """B_hat - B of all patches that blocks hide, block by block; float32, not amplified.

    `at_once` as in `inpaint_all_blocks`.
    """
    inpainted = inpaint_all_blocks(mae, blocks, images, at_once)
    inpainted = inpainted.reshape(len(images), -1, inpainted.shape[-1]).astype(jnp.float32)
    original = patchify(images.astype(jnp.float32), mae.patch)
    return inpainted - take_patches(original, jnp.asarray(blocks.hidden).reshape(-1))


def amplify(difference: Float[Array, "*shape"], alpha: float | Array) -> Float[Array, "*shape"]:
    """Equation 5 of the paper for B_hat - B, float32, clipped to [-1, 1]."""
    return jnp.clip(alpha * difference.astype(jnp.float32), -1.0, 1.0)


def amplify_difference(
    inpainted: Float[Array, "*shape"], original: Float[Array, "*shape"], alpha: float | Array
) -> Float[Array, "*shape"]:
    """Equation 5 of the paper, float32, clipped to [-1, 1]."""
    return amplify(inpainted.astype(jnp.float32) - original.astype(jnp.float32), alpha)


def residual_patches(
    mae: MAE,
    blocks: BlockGrid,
    images: Float[Array, "batch size size 3"],
    chosen: Int[Array, "batch most"],
    counts: tuple[int, ...],
    alpha: float | Array = ALPHA,
    at_once: int | None = None,
) -> tuple[Float[Array, "batch patches pixels"], Int[Array, "batch patches"]]:
    """Residuals of the chosen blocks, patch by patch, and the places of those patches.

    `chosen`, `counts` and `at_once` as in `inpaint_chosen_blocks`; values after a row's count have
    no meaning.
    """
    batch = len(images)
    inpainted = inpaint_chosen_blocks(mae, blocks, images, chosen, counts, at_once)
    inpainted = inpainted.reshape(batch, -1, inpainted.shape[-1])
    indices = jnp.asarray(blocks.hidden)[chosen].reshape(batch, -1)
    original = take_patches(patchify(images, mae.patch), indices)
    return amplify_difference(inpainted, original, alpha), indices


def inpaint(
    mae: MAE,
    blocks: BlockGrid,
    images: Float[Array, "batch size size 3"],
    at_once: int | None = None,
) -> Float[Array, "batch size size 3"]:
    """The image put together from all inpainted blocks; the original where no block reaches.

    Args:
      images: pixels in [0, 1].
      at_once: as in `inpaint_all_blocks`.

    Returns:
      Pixels in [0, 1] up to the MAE's error, float32.
    """
    inpainted = inpaint_all_blocks(mae, blocks, images, at_once)
    inpainted = inpainted.reshape(len(images), -1, inpainted.shape[-1])
    original = patchify(images.astype(jnp.float32), mae.patch)
    both = jnp.concatenate([inpainted, original], axis=1)
    return unpatchify(jnp.take(both, jnp.asarray(_source_patches(blocks)), axis=1), mae.patch)


@functools.cache
def _source_patches(blocks: BlockGrid) -> Int[np.ndarray, " patches"]:
    """For each patch its place among the inpainted ones, or behind them its place in the image."""
    covered = blocks.hidden.reshape(-1)
    sources = len(covered) + np.arange(blocks.patches)
    sources[covered] = np.arange(len(covered))
    return sources


def residual_from_differences(
    differences: Float[Array, "batch covered pixels"],
    blocks: BlockGrid,
    patch: int,
    alpha: float | Array = ALPHA,
) -> Float[Array, "batch size size 3"]:
    """The whole residual image from the result of `block_differences`."""
    return difference_image(amplify(differences, alpha), blocks, patch)


def difference_image(
    differences: Float[Array, "batch covered pixels"], blocks: BlockGrid, patch: int
) -> Float[Array, "batch size size 3"]:
    """The result of `block_differences` as images; zero where there is no block."""
    nothing = jnp.zeros_like(differences[:, :1])
    places = np.minimum(_source_patches(blocks), blocks.hidden.size)
    return unpatchify(
        jnp.take(jnp.concatenate([differences, nothing], axis=1), places, axis=1), patch
    )


def block_heat(
    residuals: Float[Array, "batch size size 3"], blocks: BlockGrid, patch: int
) -> Float[Array, "batch k k"]:
    """The mean of |residual| in every block, for whole residual images."""
    k, side, first = blocks.k, blocks.side * patch, blocks.offset * patch
    area = slice(first, first + k * side)
    covered = jnp.abs(residuals[:, area, area])
    return covered.reshape(-1, k, side, k, side, 3).mean(axis=(2, 4, 5))


def residual_image(
    mae: MAE,
    blocks: BlockGrid,
    images: Float[Array, "batch size size 3"],
    alpha: float | Array = ALPHA,
    at_once: int | None = None,
) -> tuple[Float[Array, "batch size size 3"], Float[Array, "batch size size 3"]]:
    """The inpainted image and the whole residual image, to be called under one `jax.jit`.

    Args:
      images: pixels in [0, 1].
      alpha: amplification; 4 in the paper.
      at_once: as in `inpaint_all_blocks`; `rffr_jax.cluster.memory` chooses it.

    Returns:
      The inpainted image (about [0, 1]) and the residual in [-1, 1], zero where no block
      reaches; both float32.
    """
    inpainted = inpaint(mae, blocks, images, at_once)
    return inpainted, amplify_difference(inpainted, images, alpha)
