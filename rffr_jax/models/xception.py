"""Xception (Chollet, CVPR 2017) without its classifier: the field's backbone.

Convolutions and pooling are padded as in the PyTorch version that the field trains, which differs
from Keras's at the borders. Batch normalisation is that of the paper: in training over the
batch, in a test by running statistics, which are in the tree of parameters beside scale and bias.
"""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rffr_jax.errors import UserError
from rffr_jax.models.convolution import convolution_of
from rffr_jax.models.feature_maps import Inputs, Outputs, Rows, rows_that_count
from rffr_jax.models.sizes import XceptionSettings

MOMENTUM = 0.9  # of the running statistics; PyTorch calls it 0.1
EPSILON = 1e-5
POOLED = ((1, 1), (1, 1))  # rows and columns that are added around what is pooled

SMALLEST_IMAGE = 32
"""The side in pixels; the last feature map is then 1 x 1."""


class Normalised(nnx.Module):
    """A convolution without bias, or a depthwise and a pointwise one, and batch normalisation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int,
        *,
        stride: int = 1,
        padding: int = 0,
        separable: bool = False,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        def convolution(outputs: int, side: int, stride: int, padding: int, groups: int = 1):
            return nnx.Conv(
                inputs,
                outputs,
                (side, side),
                strides=(stride, stride),
                padding=[(padding, padding)] * 2,
                feature_group_count=groups,
                use_bias=False,
                conv_general_dilated=convolution_of(side, groups),
                dtype=dtype,
                kernel_init=nnx.initializers.he_normal(),
                rngs=rngs,
            )

        self.separable = separable
        if separable:
            self.depthwise = convolution(inputs, side, stride, padding, groups=inputs)
            self.pointwise = convolution(outputs, 1, 1, 0)
        else:
            self.convolution = convolution(outputs, side, stride, padding)
        self.norm = nnx.BatchNorm(
            outputs,
            momentum=MOMENTUM,
            epsilon=EPSILON,
            use_fast_variance=False,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: Inputs, training: bool, rows: Rows) -> Outputs:
        x = self.pointwise(self.depthwise(x)) if self.separable else self.convolution(x)
        return self.norm(x, use_running_average=not training, mask=rows)


class Block(nnx.Module):
    """Separable convolutions with a ReLU before each, beside a shortcut.

    Args:
      widths: channels before the first, between, and behind the last convolution.
      stride: 2 pools the result, 3 x 3, and takes every second pixel of the shortcut.
      first_relu: whether there is one before the first convolution.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        *,
        stride: int = 1,
        first_relu: bool = True,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.stride, self.first_relu = stride, first_relu
        self.names = tuple(f"convolution{n}" for n in range(len(widths) - 1))
        self.convolutions = nnx.Dict(
            {
                name: Normalised(
                    widths[n], widths[n + 1], 3, padding=1, separable=True, dtype=dtype, rngs=rngs
                )
                for n, name in enumerate(self.names)
            }
        )
        self.shortened = stride > 1 or widths[0] != widths[-1]
        if self.shortened:
            self.shortcut = Normalised(
                widths[0], widths[-1], 1, stride=stride, dtype=dtype, rngs=rngs
            )

    def __call__(self, x: Inputs, training: bool, rows: Rows) -> Outputs:
        shortcut = self.shortcut(x, training, rows) if self.shortened else x
        for name in self.names:
            if self.first_relu or name != self.names[0]:
                x = nnx.relu(x)
            x = self.convolutions[name](x, training, rows)
        if self.stride > 1:
            x = nnx.max_pool(x, (3, 3), (self.stride, self.stride), padding=POOLED)  # pyright: ignore[reportArgumentType]
        return x + shortcut


class Xception(nnx.Module):
    """Entry, middle and exit flow.

    Attributes:
      features: channels of the last stage.
    """

    def __init__(
        self,
        settings: XceptionSettings,
        image_size: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Raises: UserError for images that are too small for it."""
        if image_size < SMALLEST_IMAGE:
            raise UserError(
                f"model.image_size={image_size} is too small for Xception, which halves images "
                f"five times; it needs {SMALLEST_IMAGE} px or more"
            )

        self.dtype = dtype
        w32, w64, w128, w256, w728, w1024, w1536, w2048 = map(
            settings.channels, (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )

        def block(*widths: int, stride: int = 2, first_relu: bool = True) -> Block:
            return Block(widths, stride=stride, first_relu=first_relu, dtype=dtype, rngs=rngs)

        def normalised(inputs: int, outputs: int, **options) -> Normalised:
            return Normalised(inputs, outputs, 3, **options, dtype=dtype, rngs=rngs)

        self.stem1 = normalised(3, w32, stride=2)
        self.stem2 = normalised(w32, w64)
        self.entry1 = block(w64, w128, w128, first_relu=False)
        self.entry2 = block(w128, w256, w256)
        self.entry3 = block(w256, w728, w728)
        self.middle_names = tuple(f"middle{n}" for n in range(settings.middle_blocks))
        self.middle = nnx.Dict(
            {name: block(w728, w728, w728, w728, stride=1) for name in self.middle_names}
        )
        self.exit1 = block(w728, w728, w1024)
        self.exit2 = normalised(w1024, w1536, padding=1, separable=True)
        self.exit3 = normalised(w1536, w2048, padding=1, separable=True)
        self.features = w2048

    def stages(
        self,
        images: Float[Array, "batch size size 3"],
        *,
        training: bool,
        weight: Float[Array, " batch"] | None = None,
    ) -> dict[str, Float[Array, "batch height width channels"]]:
        """What every stage gives, in their order; the last one is `exit3`.

        Args:
          images: normalised pixels.
          training: normalise by the batch, over all devices, and move the running statistics
            towards it.
          weight: images of weight 0 do not count in the batch's statistics, unless none counts.
        """
        rows = rows_that_count(weight) if training else None
        found = self.entry_flow(images, training, rows)
        x = found["entry3"]
        for name in self.middle_names:
            found[name] = x = self.middle[name](x, training, rows)
        return found | self.exit_flow(x, training, rows)

    def entry_flow(
        self, images: Float[Array, "batch size size 3"], training: bool, rows: Rows
    ) -> dict[str, Outputs]:
        """The first of `stages`, up to `entry3`."""
        x, found = images.astype(self.dtype), {}
        for name in ("stem1", "stem2"):
            found[name] = x = nnx.relu(getattr(self, name)(x, training, rows))
        for name in ("entry1", "entry2", "entry3"):
            found[name] = x = getattr(self, name)(x, training, rows)
        return found

    def exit_flow(self, x: Inputs, training: bool, rows: Rows) -> dict[str, Outputs]:
        """The last of `stages`, of what the middle flow gives."""
        found = {"exit1": self.exit1(x, training, rows)}
        x = found["exit1"]
        for name in ("exit2", "exit3"):
            found[name] = x = nnx.relu(getattr(self, name)(x, training, rows))
        return found

    def __call__(
        self,
        images: Float[Array, "batch size size 3"],
        *,
        training: bool,
        weight: Float[Array, " batch"] | None = None,
    ) -> Float[Array, "batch height width features"]:
        """The last of `stages`."""
        return self.stages(images, training=training, weight=weight)["exit3"]
