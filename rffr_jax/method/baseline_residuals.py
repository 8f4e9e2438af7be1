"""Residuals that the paper sets beside the MAE's (Table 8): no block is hidden for them.

Both are of the whole image in one pass, amplified and clipped to [-1, 1] as the MAE's are.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from rffr_jax.method.residual import ALPHA, amplify, amplify_difference
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


@functools.cache
def _blur(size: int) -> Float[np.ndarray, "size size"]:
    """The blur along one side of an image as a matrix."""
    impulses = np.eye(size)
    return ndimage.gaussian_filter1d(impulses, BLUR, axis=0, mode="reflect").astype(np.float32)
