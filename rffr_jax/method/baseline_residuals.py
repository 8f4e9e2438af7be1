"""Residuals to set beside the MAE's: those of the paper's Table 8, and a ridge regression's.

All are amplified and clipped to [-1, 1] as the MAE's are. For the paper's two no block is hidden:
they are of the whole image in one pass. The regression fills every block from the rest.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy import ndimage

from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.residual import ALPHA, amplify, amplify_difference
from rffr_jax.models.layers import patchify, take_patches
from rffr_jax.models.unet import UNet

BLUR = 2.0
"""Standard deviation in pixels of the high-pass filter's blur. The paper names no filter; this one
keeps details of up to about 8 pixels, half a patch of the paper's size."""


def high_pass_residual(
    images: Float[Array, "batch size size 3"], alpha: float | Array = ALPHA
) -> Float[Array, "batch size size 3"]:
    """R = alpha (X - G * X) in [-1, 1], float32, where G is a Gaussian of `BLUR` pixels.

    Images are mirrored at their borders, the outermost pixels included.

    Args:
      images: pixels in [0, 1].
    """
    pixels = images.astype(jnp.float32)
    blur = jnp.asarray(_blur(images.shape[1]))
    rows = jnp.einsum("or,brcx->bocx", blur, pixels, precision=jax.lax.Precision.HIGHEST)
    blurred = jnp.einsum("oc,brcx->brox", blur, rows, precision=jax.lax.Precision.HIGHEST)
    return amplify(pixels - blurred, alpha)


def reconstruction_residual(
    unet: UNet, images: Float[Array, "batch size size 3"], alpha: float | Array = ALPHA
) -> tuple[Float[Array, "batch size size 3"], Float[Array, "batch size size 3"]]:
    """The autoencoder's reconstruction X_hat and R = alpha (X_hat - X) in [-1, 1], float32.

    To be called with a UNet that computes in float32: its copies are so good that the rounding of
    bfloat16 would be as large as the difference.

    Args:
      images: pixels in [0, 1].
    """
    reconstructed = unet(images)
    return reconstructed, amplify_difference(reconstructed, images, alpha)


RIDGE_RANK = 256
"""Principal components of a stored regression: 25 MB at 64 px, 77 MB at 112, 270 MB at 224."""


def ridge_shapes(blocks: BlockGrid, patch: int, rank: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays of `RidgeInpainter.compact`."""
    pixels = patch**2 * 3
    shapes = {
        "mean": (blocks.patches, pixels),
        "components": (blocks.patches, pixels, rank),
        "coefficients": (blocks.count, rank, blocks.side**2 * pixels),
    }
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def ridge_differences(
    ridge: PyTree,
    blocks: BlockGrid,
    patch: int,
    images: Float[Array, "batch size size 3"],
) -> Float[Array, "batch covered pixels"]:
    """B_hat - B of all blocks, as `residual.block_differences` has them; float32, not amplified.

    Args:
      ridge: from `RidgeInpainter.compact`.
      images: pixels in [0, 1].
    """
    einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    original = patchify(images.astype(jnp.float32), patch)
    coordinates = einsum("bpx,pxr->bpr", original - ridge["mean"], ridge["components"])
    hidden = jnp.asarray(blocks.hidden)
    inside = take_patches(coordinates, hidden.reshape(-1))
    inside = inside.reshape(len(images), *hidden.shape, -1).sum(axis=2)
    outside = coordinates.sum(axis=1, keepdims=True) - inside
    filled = einsum("bkr,krx->bkx", outside, ridge["coefficients"])
    filled = filled.reshape(len(images), hidden.size, -1)
    covered = hidden.reshape(-1)
    return filled + ridge["mean"][covered] - take_patches(original, covered)


@functools.cache
def _blur(size: int) -> Float[np.ndarray, "size size"]:
    """The blur along one side of an image as a matrix."""
    impulses = np.eye(size)
    return ndimage.gaussian_filter1d(impulses, BLUR, axis=0, mode="reflect").astype(np.float32)
