"""Named model sizes, and the settings that fix the shapes of a model."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rffr_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class ModelSize:
    """Widths, depths and heads of the encoder (the detector's ViT too) and of the MAE's decoder."""

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int


SIZES = {
    "vit_b16": ModelSize(768, 12, 12, decoder_width=512, decoder_depth=8, decoder_heads=16),
    "vit_l16": ModelSize(1024, 24, 16, decoder_width=512, decoder_depth=8, decoder_heads=16),
    "vit_h14": ModelSize(1280, 32, 16, decoder_width=512, decoder_depth=8, decoder_heads=16),
    "vit_s16": ModelSize(384, 12, 6, decoder_width=256, decoder_depth=8, decoder_heads=8),
    "vit_ti16": ModelSize(192, 12, 3, decoder_width=128, decoder_depth=4, decoder_heads=4),
    "small": ModelSize(128, 6, 4, decoder_width=128, decoder_depth=2, decoder_heads=4),
    "mini": ModelSize(64, 3, 4, decoder_width=64, decoder_depth=1, decoder_heads=4),
    "tiny": ModelSize(32, 2, 2, decoder_width=32, decoder_depth=2, decoder_heads=2),
}


@functools.cache
def model_size(name: str) -> ModelSize:
    """A size of `SIZES` by its name; `vit_s16_h12` is `vit_s16` with 12 heads in the encoder, and
    `vit_s16_dh4` has 4 in the decoder.

    Raises:
      UserError: no such size, or heads that do not divide the width.
    """
    known = "|".join(SIZES)
    parts = re.fullmatch(rf"({known})(?:_h([1-9]\d*))?(?:_dh([1-9]\d*))?", name)
    if parts is None:
        raise UserError(f"model.size={name!r} is not known; choose one of {', '.join(SIZES)}")
    size = SIZES[parts[1]]
    heads, decoder_heads = int(parts[2] or size.heads), int(parts[3] or size.decoder_heads)
    if size.width % heads or size.decoder_width % decoder_heads:
        raise UserError(
            f"model.size={name!r}: heads must divide the width, {size.width} of the encoder and "
            f"{size.decoder_width} of the decoder"
        )
    return dataclasses.replace(size, heads=heads, decoder_heads=decoder_heads)


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """The settings that fix the shapes of a model's parameters.

    Attributes:
      size: a name of `SIZES`, or one with other heads (`model_size`).
      image_size: side of the square image in pixels.
      patch_size: side of a patch in pixels.

    Raises:
      UserError: unknown size, or patches that do not fill the image.
    """

    size: str
    image_size: int
    patch_size: int

    def __post_init__(self):
        model_size(self.size)
        if self.patch_size < 1 or self.image_size < 1 or self.image_size % self.patch_size:
            raise UserError(
                f"model.image_size={self.image_size} is not a multiple of "
                f"model.patch_size={self.patch_size}"
            )

    @property
    def shape(self) -> ModelSize:
        return model_size(self.size)

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size


@dataclasses.dataclass(frozen=True)
class BackboneSettings:
    """The settings that fix a pretrained vision transformer that reads whole images.

    Attributes:
      width, depth, heads: of the transformer.
      image_size: side of the square image in pixels.
      patch_size: side of a patch in pixels.
      registers: tokens behind the class token that stand for no patch (DINOv2).
      layer_scale: whether a block scales each channel of what it adds (DINOv2).
      norm_before: whether a norm stands before the blocks, and the patch embedding has no bias
        (CLIP).
      activation: `gelu`, the exact one, or `quick_gelu` (CLIP).
      epsilon: of the layer norms.

    Raises:
      UserError: patches that do not fill the image.
    """

    width: int
    depth: int
    heads: int
    image_size: int
    patch_size: int
    registers: int = 0
    layer_scale: bool = False
    norm_before: bool = False
    activation: str = "gelu"
    epsilon: float = 1e-6

    def __post_init__(self):
        if self.image_size < 1 or self.image_size % self.patch_size:
            raise UserError(
                f"backbone.image_size={self.image_size} is not a multiple of the backbone's "
                f"patches of {self.patch_size} px"
            )

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    def __str__(self) -> str:
        patches = f"{self.image_size} px, patches of {self.patch_size} px"
        return f"width {self.width}, depth {self.depth}, {patches}"


@dataclasses.dataclass(frozen=True)
class UNetSettings:
    """The settings that fix the shapes of a UNet's parameters, and its image size.

    Attributes:
      image_size: side of the square image in pixels.
      width: channels at full resolution; 64 in the original.
      depth: how often the resolution is halved; 4 in the original.

    Raises:
      UserError: less than one channel or level, or an image that cannot be halved so often.
    """

    image_size: int
    width: int
    depth: int

    def __post_init__(self):
        if self.width < 1 or self.depth < 1:
            raise UserError(
                f"unet.width={self.width} and unet.depth={self.depth} must both be 1 or more"
            )
        if self.image_size % 2**self.depth:
            raise UserError(
                f"unet.depth={self.depth} halves the image {self.depth} times, and "
                f"model.image_size={self.image_size} is not a multiple of {2**self.depth}"
            )


@dataclasses.dataclass(frozen=True)
class XceptionSettings:
    """The settings that fix the shapes of an Xception's parameters, for images of any size.

    Attributes:
      width: factor of all numbers of channels; 1 in the paper.
      middle_blocks: blocks of the middle flow; 8 in the paper.

    Raises:
      UserError: a factor that is not above 0, or less than no block.
    """

    width: float = 1.0
    middle_blocks: int = 8

    def __post_init__(self):
        if self.width <= 0 or self.middle_blocks < 0:
            raise UserError(
                f"rival.width={self.width} must be above 0 and rival.middle_blocks="
                f"{self.middle_blocks} must not be negative"
            )

    def channels(self, published: int) -> int:
        """How many channels there are in place of the paper's number."""
        return max(1, round(self.width * published))


@dataclasses.dataclass(frozen=True)
class EfficientNetSettings:
    """The settings that fix the shapes of an EfficientNet's parameters, for images of any size.

    Attributes:
      width: factor of B0's numbers of channels; 1.4 in B4.
      depth: factor of B0's numbers of blocks; 1.8 in B4.

    Raises:
      UserError: a factor that is not above 0.
    """

    width: float = 1.4
    depth: float = 1.8

    def __post_init__(self):
        if self.width <= 0 or self.depth <= 0:
            raise UserError(
                f"rival.width={self.width} and rival.depth={self.depth} must both be above 0"
            )


def compute_dtype(name: str) -> DTypeLike:
    """`auto` is bfloat16 on a GPU or TPU and float32 on a CPU.

    Raises: UserError for a name that is no compute type.
    """
    types = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
    if name == "auto":
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    if name not in types:
        raise UserError(f"dtype={name!r} is not known; choose auto, float32 or bfloat16")
    return types[name]
