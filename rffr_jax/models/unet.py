"""UNet autoencoder (Ronneberger et al., MICCAI 2015): it copies whole images, nothing hidden.

The paper's counterpart of the MAE: although it learns from real faces, it copies the artifacts of
fakes, too.
"""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rffr_jax.models.sizes import UNetSettings


class ConvolutionPair(nnx.Module):
    """Two 3 x 3 convolutions that keep the size, each with a ReLU behind it."""

    def __init__(self, inputs: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.first = convolution(inputs, outputs, 3, dtype, rngs)
        self.second = convolution(outputs, outputs, 3, dtype, rngs)

    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch height width outputs"]:
        return nnx.relu(self.second(nnx.relu(self.first(x))))


class UNet(nnx.Module):
    """Encoder and decoder with a skip at every resolution.

    As in the original, but for convolutions that keep the size (the reconstruction is as large as
    the image) and three colours at the end. Each level halves the resolution by max pooling and
    doubles the channels.
    """

    def __init__(self, settings: UNetSettings, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dtype, self.names = dtype, tuple(f"level{n}" for n in range(settings.depth))
        down, enlarge, up = {}, {}, {}
        inputs, width = 3, settings.width
        for name in self.names:
            down[name] = ConvolutionPair(inputs, width, dtype=dtype, rngs=rngs)
            enlarge[name] = nnx.ConvTranspose(
                2 * width,
                width,
                (2, 2),
                strides=(2, 2),
                padding="VALID",
                dtype=dtype,
                kernel_init=nnx.initializers.he_normal(),
                rngs=rngs,
            )
            up[name] = ConvolutionPair(2 * width, width, dtype=dtype, rngs=rngs)
            inputs, width = width, 2 * width
        self.down, self.enlarge, self.up = nnx.Dict(down), nnx.Dict(enlarge), nnx.Dict(up)
        self.bottom = ConvolutionPair(inputs, width, dtype=dtype, rngs=rngs)
        self.prediction = convolution(settings.width, 3, 1, jnp.float32, rngs)

    def __call__(
        self, images: Float[Array, "batch size size 3"]
    ) -> Float[Array, "batch size size 3"]:
        """Reconstructed pixels, float32, of images in [0, 1]."""
        x, skips = images.astype(self.dtype), {}
        for name in self.names:
            skips[name] = self.down[name](x)
            x = nnx.max_pool(skips[name], (2, 2), (2, 2))
        x = self.bottom(x)
        for name in reversed(self.names):
            enlarged = self.enlarge[name](x)
            x = self.up[name](jnp.concatenate([skips[name], enlarged], axis=-1))
        return self.prediction(x.astype(jnp.float32))


def convolution(inputs: int, outputs: int, side: int, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Conv:
    """A side x side convolution that keeps the size, drawn for a ReLU (He et al., ICCV 2015)."""
    return nnx.Conv(
        inputs,
        outputs,
        (side, side),
        padding="SAME",
        dtype=dtype,
        kernel_init=nnx.initializers.he_normal(),
        rngs=rngs,
    )
