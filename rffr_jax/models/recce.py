"""What RECCE (Cao et al., CVPR 2022) adds to Xception: a decoder, reasoning over a bipartite graph
between encoder and decoder, and attention guided by the difference of the reconstruction."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rffr_jax.models.feature_maps import Inputs, Outputs, Rows
from rffr_jax.models.sizes import XceptionSettings
from rffr_jax.models.xception import EPSILON, MOMENTUM, Block, Normalised

CODE, COARSE, FINE, LAST = 728, 256, 128, 64
"""Channels of the encoder's middle flow and of the decoder's maps, at full width."""


class Decoded(NamedTuple):
    """What the decoder makes of a feature map of `height` x `width`.

    Attributes:
      coarse: a feature map of twice its sides.
      fine: one of four times its sides.
      image: a picture of eight times its sides, in [-1, 1], float32.
    """

    coarse: Float[Array, "batch 2*height 2*width coarse"]
    fine: Float[Array, "batch 4*height 4*width fine"]
    image: Float[Array, "batch 8*height 8*width 3"]


class Decoder(nnx.Module):
    """Three times a doubling and a separable convolution; blocks of Xception between them."""

    def __init__(self, settings: XceptionSettings, *, dtype: DTypeLike, rngs: nnx.Rngs):
        code, coarse, fine, last = map(settings.channels, (CODE, COARSE, FINE, LAST))

        def narrowed(inputs: int, outputs: int) -> Normalised:
            return Normalised(inputs, outputs, 3, padding=1, separable=True, dtype=dtype, rngs=rngs)

        self.doubled1, self.doubled2 = narrowed(code, coarse), narrowed(coarse, fine)
        self.doubled3 = narrowed(fine, last)
        self.coarse = Block((coarse,) * 4, dtype=dtype, rngs=rngs)
        self.fine = Block((fine,) * 4, dtype=dtype, rngs=rngs)
        self.image = _pointwise(last, 3, dtype, rngs)

    def __call__(self, x: Inputs, training: bool, rows: Rows) -> Decoded:
        x = nnx.relu(self.doubled1(_doubled(x), training, rows))
        coarse = self.coarse(x, training, rows)
        x = nnx.relu(self.doubled2(_doubled(coarse), training, rows))
        fine = self.fine(x, training, rows)
        x = nnx.relu(self.doubled3(_doubled(fine), training, rows))
        return Decoded(coarse, fine, jnp.tanh(self.image(x).astype(jnp.float32)))


class TwoLayers(nnx.Sequential):
    """Two pointwise layers with a ReLU between them."""

    def __init__(
        self, inputs: int, between: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        super().__init__(
            _pointwise(inputs, between, dtype, rngs),
            nnx.relu,
            _pointwise(between, outputs, dtype, rngs),
        )


class GraphReasoning(nnx.Module):
    """Every place of the encoder's map gathers what both maps of the decoder hold there.

    A place is joined with the 2 x 2 and the 4 x 4 places of the decoder's maps that cover the same
    part of the image. What is gathered is gated by the place itself.
    """

    def __init__(self, settings: XceptionSettings, *, dtype: DTypeLike, rngs: nnx.Rngs):
        code, coarse, fine = map(settings.channels, (CODE, COARSE, FINE))
        self.own = TwoLayers(code, coarse, coarse, dtype=dtype, rngs=rngs)
        self.from_coarse = Gathering(code, coarse, coarse, 2, dtype=dtype, rngs=rngs)
        self.from_fine = Gathering(code, fine, coarse, 4, dtype=dtype, rngs=rngs)
        self.back = TwoLayers(3 * coarse, code, code, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        encoded: Float[Array, "batch height width code"],
        coarse: Float[Array, "batch 2*height 2*width coarse"],
        fine: Float[Array, "batch 4*height 4*width fine"],
    ) -> Float[Array, "batch height width code"]:
        """What is to be added to `encoded`."""
        own = self.own(encoded)
        gathered = [
            self.from_coarse(encoded, own, coarse),
            self.from_fine(encoded, own, fine),
            own,
        ]
        return self.back(nnx.sigmoid(jnp.concatenate(gathered, axis=-1)))


class Gathering(nnx.Module):
    """The weighted mean over a place's neighbours in one map of the decoder.

    Args:
      side: a place has `side` x `side` neighbours; the map's sides are so many times as long.
    """

    def __init__(
        self, code: int, given: int, wanted: int, side: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.side = side
        self.embedding = TwoLayers(given, wanted, wanted, dtype=dtype, rngs=rngs)
        self.of_place = _pointwise(wanted, 1, dtype, rngs)
        self.of_neighbour = _pointwise(wanted, 1, dtype, rngs)
        self.gate = _pointwise(code, wanted, dtype, rngs)

    def __call__(
        self,
        encoded: Float[Array, "batch height width code"],
        own: Float[Array, "batch height width wanted"],
        decoded: Float[Array, "batch many_rows many_columns given"],
    ) -> Float[Array, "batch height width wanted"]:
        (batch, height, width, _), side = encoded.shape, self.side
        neighbours = self.embedding(decoded)
        # In a whole layer of both, the weight's logit is the sum of these two.
        logits = self.of_neighbour(neighbours).reshape(batch, height, side, width, side)
        logits = nnx.relu(logits + self.of_place(own)[:, :, None, :])
        weights = nnx.softmax(logits.astype(jnp.float32), axis=(2, 4)).astype(neighbours.dtype)
        neighbours = neighbours.reshape(batch, height, side, width, side, -1)
        mean = jnp.einsum("bhiwj,bhiwjc->bhwc", weights, neighbours)
        return mean * (1 - nnx.sigmoid(self.gate(encoded)))


class GuidedAttention(nnx.Module):
    """A feature map, weighted by where the reconstruction differs from the image."""

    def __init__(self, settings: XceptionSettings, *, dtype: DTypeLike, rngs: nnx.Rngs):
        code = settings.channels(CODE)
        self.dtype = dtype
        self.blurred = nnx.Conv(
            3, 3, (3, 3), padding=[(1, 1)] * 2, use_bias=False, dtype=dtype, rngs=rngs
        )
        self.map = _pointwise(3, 1, dtype, rngs)
        self.features = _pointwise(code, code, dtype, rngs)
        self.norm = nnx.BatchNorm(
            code,
            momentum=MOMENTUM,
            epsilon=EPSILON,
            use_fast_variance=False,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(
        self,
        difference: Float[Array, "batch size size 3"],
        encoded: Float[Array, "batch height width code"],
        training: bool,
        rows: Rows,
    ) -> Float[Array, "batch height width code"]:
        """What is to be added to `encoded`.

        Args:
          difference: absolute, of the image and its reconstruction.
        """
        height, width = encoded.shape[1:3]
        small = resized(difference, (height, width)).astype(self.dtype)
        where = nnx.sigmoid(self.map(nnx.relu(self.blurred(small))))
        features = self.norm(self.features(encoded), use_running_average=not training, mask=rows)
        return where * nnx.relu(features)


def resized(
    images: Float[Array, "batch height width channels"], sides: tuple[int, int]
) -> Float[Array, "batch new_height new_width channels"]:
    """Linear between pixels, corners on corners, without smoothing: PyTorch's `align_corners`."""
    rows, columns = (
        jnp.asarray(_interpolation(old, new), images.dtype)
        for old, new in zip(images.shape[1:3], sides, strict=True)
    )
    return jnp.einsum(
        "ph,bhwc,qw->bpqc", rows, images, columns, precision=jax.lax.Precision.HIGHEST
    )


def _interpolation(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """How much each of `old` pixels counts in each of `new`."""
    places = np.linspace(0, old - 1, new)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old)))


def _doubled(x: Inputs) -> Outputs:
    """Every pixel four times."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def _pointwise(inputs: int, outputs: int, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, use_bias=False, dtype=dtype, rngs=rngs)
