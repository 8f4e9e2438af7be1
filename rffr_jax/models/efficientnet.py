"""EfficientNet (Tan & Le, ICML 2019) without its classifier, padded as in TensorFlow.

TensorFlow's padding, 'SAME', is not symmetric where a stride of 2 meets an even size; the weights
that Google trained (timm's `tf_efficientnet_*`) need it.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from rffr_jax.models.convolution import convolution_of
from rffr_jax.models.feature_maps import Inputs, Outputs, Rows, rows_that_count
from rffr_jax.models.sizes import EfficientNetSettings

MOMENTUM = 0.99  # of the running statistics; PyTorch calls it 0.01
EPSILON = 1e-3
DROP_CONNECT = 0.2  # of the last block; it grows linearly from 0
STEM, HEAD = 32, 1280
STAGES = (  # expansion, channels, blocks, stride, side of the kernel; of B0
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
SQUEEZE = 4  # a block's input has so many times the channels of its squeezed description


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and never less than nine tenths of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class Normalised(nnx.Module):
    """A convolution without bias, batch normalisation and, where asked for, a swish."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int,
        *,
        stride: int = 1,
        groups: int = 1,
        swish: bool = True,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.swish = swish
        self.convolution = nnx.Conv(
            inputs,
            outputs,
            (side, side),
            strides=(stride, stride),
            padding="SAME",
            feature_group_count=groups,
            use_bias=False,
            conv_general_dilated=convolution_of(side, groups),
            dtype=dtype,
            kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(
            outputs,
            momentum=MOMENTUM,
            epsilon=EPSILON,
            use_fast_variance=False,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: Inputs, training: bool, rows: Rows) -> Outputs:
        x = self.norm(self.convolution(x), use_running_average=not training, mask=rows)
        return nnx.swish(x) if self.swish else x


class Block(nnx.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection (MBConv).

    Args:
      expansion: how many times the channels of the input lie between; 1 expands nothing.
      drop: chance in training that an image skips the block, where it has a shortcut.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int,
        *,
        expansion: int,
        stride: int,
        drop: float,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        width, squeezed = expansion * inputs, inputs // SQUEEZE
        self.expands, self.drop = expansion > 1, drop
        self.has_shortcut = stride == 1 and inputs == outputs
        if self.expands:
            self.expand = Normalised(inputs, width, 1, dtype=dtype, rngs=rngs)
        self.depthwise = Normalised(
            width, width, side, stride=stride, groups=width, dtype=dtype, rngs=rngs
        )
        self.squeeze = nnx.Linear(width, squeezed, dtype=dtype, rngs=rngs)
        self.excite = nnx.Linear(squeezed, width, dtype=dtype, rngs=rngs)
        self.project = Normalised(width, outputs, 1, swish=False, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Inputs, training: bool, rows: Rows, keys: Key[Array, " batch"] | None
    ) -> Outputs:
        shortcut = x
        if self.expands:
            x = self.expand(x, training, rows)
        x = self.depthwise(x, training, rows)
        described = nnx.swish(self.squeeze(jnp.mean(x, axis=(1, 2))))
        x = x * nnx.sigmoid(self.excite(described))[:, None, None, :]
        x = self.project(x, training, rows)
        if not self.has_shortcut:
            return x
        if keys is not None and self.drop:
            kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.drop))(keys)
            x = x * (kept / (1 - self.drop)).astype(x.dtype)[:, None, None, None]
        return x + shortcut


class EfficientNet(nnx.Module):
    """Stem, seven stages of blocks, and a last 1 x 1 convolution; for images of any size.

    Attributes:
      features: channels of the last feature map.
    """

    def __init__(self, settings: EfficientNetSettings, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dtype = dtype
        width = round_channels(settings.width * STEM)
        self.stem = Normalised(3, width, 3, stride=2, dtype=dtype, rngs=rngs)
        repeats = stage_depths(settings)
        total, number = sum(repeats), 0
        blocks = {}
        for stage, (expansion, channels, _, stride, side) in enumerate(STAGES):
            outputs = round_channels(settings.width * channels)
            for block in range(repeats[stage]):
                blocks[f"stage{stage}_block{block}"] = Block(
                    width,
                    outputs,
                    side,
                    expansion=expansion,
                    stride=1 if block else stride,
                    drop=DROP_CONNECT * number / total,
                    dtype=dtype,
                    rngs=rngs,
                )
                width, number = outputs, number + 1
        self.names, self.blocks = tuple(blocks), nnx.Dict(blocks)
        self.features = round_channels(settings.width * HEAD)
        self.head = Normalised(width, self.features, 1, dtype=dtype, rngs=rngs)

    def stages(
        self,
        images: Float[Array, "batch size size 3"],
        *,
        training: bool,
        weight: Float[Array, " batch"] | None = None,
        keys: Key[Array, " batch"] | None = None,
    ) -> dict[str, Float[Array, "batch height width channels"]]:
        """What the stem, every block and the head give, by name and in their order.

        Args:
          images: normalised pixels.
          training, weight: as for `Xception.stages`.
          keys: of each image, for the blocks that it skips in training; None skips none.
        """
        rows = rows_that_count(weight) if training else None
        found = {"stem": self.stem(images.astype(self.dtype), training, rows)}
        x = found["stem"]
        for number, name in enumerate(self.names):
            own = None
            if keys is not None:
                own = jax.vmap(lambda key, number=number: jax.random.fold_in(key, number))(keys)
            found[name] = x = self.blocks[name](x, training, rows, own)
        found["head"] = self.head(x, training, rows)
        return found

    def __call__(
        self,
        images: Float[Array, "batch size size 3"],
        *,
        training: bool,
        weight: Float[Array, " batch"] | None = None,
        keys: Key[Array, " batch"] | None = None,
    ) -> Float[Array, "batch height width features"]:
        """The last of `stages`."""
        return self.stages(images, training=training, weight=weight, keys=keys)["head"]


def stage_depths(settings: EfficientNetSettings) -> list[int]:
    """The number of blocks in every stage."""
    return [math.ceil(settings.depth * blocks) for _, _, blocks, _, _ in STAGES]
