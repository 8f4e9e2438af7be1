"""Additions to the linear embedding of a patch: a convolution stem, log-DCT energies.

They are ours and not the paper's. Each reads one patch by itself, so that no block sees another,
and its result is added to the linear embedding's.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rffr_jax.models.layers import linear
from rffr_jax.models.sizes import ModelSettings

EMBEDDINGS = ("linear", "conv", "logdct", "conv+logdct")
SMALLEST_ENERGY = 1e-4
"""Of a coefficient, for pixels of spread 1: near what rounding to 8 bits leaves."""


class ConvolutionStem(nnx.Module):
    """Two 3 x 3 convolutions of stride 2 inside each patch, GELU, and one linear layer.

    The border of a patch is padded with zeros.
    """

    def __init__(self, settings: ModelSettings, *, dtype: DTypeLike, rngs: nnx.Rngs):
        width, side = settings.shape.width, settings.patch_size

        def convolution(inputs: int, outputs: int) -> nnx.Conv:
            return nnx.Conv(inputs, outputs, (3, 3), strides=2, padding=1, dtype=dtype, rngs=rngs)

        self.side, self.dtype = side, dtype
        self.first = convolution(3, width // 4)
        self.second = convolution(width // 4, width // 2)
        cells = math.ceil(side / 4) ** 2
        self.output = linear(cells * width // 2, width, dtype, rngs)

    def __call__(
        self, patches: Float[Array, "batch chosen pixels"]
    ) -> Float[Array, "batch chosen width"]:
        """What is added to the linear embedding of each patch."""
        x = patches.reshape(-1, self.side, self.side, 3).astype(self.dtype)
        for convolution in (self.first, self.second):
            x = nnx.gelu(convolution(x), approximate=False)
        return self.output(x.reshape(*patches.shape[:2], -1))


class LogDCT(nnx.Module):
    """Logarithms of the energies of a patch's cosine transform, and one linear layer."""

    def __init__(self, settings: ModelSettings, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.side = settings.patch_size
        self.output = linear(3 * self.side**2, settings.shape.width, dtype, rngs)

    def __call__(
        self, patches: Float[Array, "batch chosen pixels"]
    ) -> Float[Array, "batch chosen width"]:
        """What is added to the linear embedding of each patch."""
        return self.output(log_dct_energies(patches, self.side))


def log_dct_energies(
    patches: Float[Array, "batch chosen pixels"], side: int
) -> Float[Array, "batch chosen pixels"]:
    """log10(1 + c^2 / SMALLEST_ENERGY) of each coefficient c of each colour; 0 or more, float32.

    Args:
      patches: side x side squares in (row, column, channel) order, and so are the results.
      side: of a patch, in pixels.
    """
    basis = dct_basis(side)
    squares = patches.astype(jnp.float32).reshape(*patches.shape[:2], side, side, 3)
    coefficients = jnp.einsum("ur,...rcx,vc->...uvx", basis, squares, basis, precision="highest")
    energies = jnp.log10(1 + coefficients**2 / SMALLEST_ENERGY)
    return energies.reshape(patches.shape)


@functools.cache
def dct_basis(side: int) -> Float[np.ndarray, "frequencies places"]:
    """The orthonormal cosine transform (DCT-II) of `side` values, as a matrix; float32."""
    frequencies, places = np.arange(side)[:, None], np.arange(side) + 0.5
    basis = np.sqrt(2 / side) * np.cos(np.pi * frequencies * places / side)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)
