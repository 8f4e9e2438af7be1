"""The evidence of a face: the crop, its reconstruction, the residual, and its mean by block.

It shows the detector's inputs, not what its score rests on.
"""

import dataclasses
import functools

import matplotlib
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw

from rffr_jax.evaluation.residual_reference import ResidualReference
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.reports.contact_sheet import (
    IMAGE_SIZE,
    draw_contact_sheet,
    enlarge,
    image_pixels,
    load_font,
    residual_pixels,
)


@dataclasses.dataclass(frozen=True)
class HeatScale:
    """The colours of heat maps.

    Attributes:
      title: above the picture.
      colours: a colour map of matplotlib.
      top: value that gets the last colour.
      labels: of `top`, half of it, and 0.
    """

    title: str
    colours: str
    top: float
    labels: tuple[str, str, str]


ABSOLUTE = HeatScale("mean |residual| by block", "inferno", 0.5, ("≥ 0.5", "0.25", "0"))
RELATIVE = HeatScale(
    "|residual| vs real faces",
    "coolwarm",
    2.0,
    ("≥ 2", "1: 95 % of real\nfaces have less", "0"),
)

NO_CAUSE = "The pictures show what the detector was given, not what its score rests on."
NO_REFERENCE = "Colours have an absolute scale: no reference of real faces is known."

_HEAT_SHARE = 0.55
_BAR_WIDTH, _FONT_SIZE = 28, 13


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """The score of one crop, and the detector's inputs, which do not show what the score rests on.

    Attributes:
      score: raw, from `LoadedDetector.score`.
      image: the crop as the detector reads it, in [0, 1].
      reconstruction: by the MAE block by block, or by the UNet, about [0, 1]; None for a detector
        without one.
      residual: R = alpha (reconstruction - image), equation 5 of the paper, in [-1, 1]; None for a
        detector that reads none.
      heat: the mean of |residual| in each of the k x k blocks, in [0, 1]; None without residual.
      relative_heat: heat over the 95th percentile of real validation faces in the same block; None
        where no reference is stored beside the detector.
      blocks, patch_size: the places of the blocks.
      alpha: amplification of the residual.
      reference: residuals of real validation faces; None where none is stored.
    """

    score: float
    image: Float32[np.ndarray, "size size 3"]
    reconstruction: Float32[np.ndarray, "size size 3"] | None
    residual: Float32[np.ndarray, "size size 3"] | None
    heat: Float32[np.ndarray, "k k"] | None
    relative_heat: Float32[np.ndarray, "k k"] | None
    blocks: BlockGrid
    patch_size: int
    alpha: float
    reference: ResidualReference | None = None

    def picture(self, note: str = "") -> Image.Image:
        """original | reconstruction | residual | heat by block | its colour bar.

        Images that the detector does not have are left out. Heat is shown relative to real faces
        where a reference is known.

        Args:
          note: text below the images.
        """
        factor = max(1, round(IMAGE_SIZE / self.image.shape[0]))
        images = {self.title(name): enlarge(image, factor) for name, image in self.views().items()}
        if self.heat is not None:
            images["colours"] = colour_bar(factor * self.image.shape[0], self.heat_scale)
            note = f"{note} {describe_heat(self.reference)} {NO_CAUSE}".lstrip()
        return draw_contact_sheet([list(images.values())], list(images), note)

    def views(self) -> dict[str, UInt8[np.ndarray, "size size 3"]]:
        """`original`, `reconstruction`, `residual` and `heat`, those that the detector has."""
        images = {"original": image_pixels(self.image)}
        if self.reconstruction is not None:
            images["reconstruction"] = image_pixels(self.reconstruction)
        if self.residual is not None:
            images["residual"] = residual_pixels(self.residual)
        if self.heat is not None:
            heat = self.heat if self.relative_heat is None else self.relative_heat
            images["heat"] = heat_overlay(
                images["original"], heat, self.blocks, self.patch_size, self.heat_scale
            )
        return images

    def title(self, view: str) -> str:
        """The heading of one of the `views`."""
        titles = {"residual": f"residual x {self.alpha:g}", "heat": self.heat_scale.title}
        return titles.get(view, view)

    @property
    def heat_scale(self) -> HeatScale:
        """The colours of `heat`, or of `relative_heat` where it is known."""
        return ABSOLUTE if self.relative_heat is None else RELATIVE


def describe_heat(reference: ResidualReference | None) -> str:
    """The meaning of the colours, in a sentence."""
    if reference is None:
        return NO_REFERENCE
    return (
        f"Colours: mean |residual| of a block over the 95th percentile that {reference.faces} real "
        "validation faces have there. 1 is as much as that, red is more; "
        f"{100 * reference.exceed:.0f} % of those real faces have a block above 1."
    )


def heat_overlay(
    image: UInt8[np.ndarray, "size size 3"],
    heat: Float32[np.ndarray, "k k"],
    blocks: BlockGrid,
    patch_size: int,
    scale: HeatScale,
) -> UInt8[np.ndarray, "size size 3"]:
    """The image in grey under the colours of its blocks; only grey where there is no block."""
    grey = np.asarray(Image.fromarray(image).convert("L").convert("RGB")).astype(np.float64)
    side, first = blocks.side * patch_size, blocks.offset * patch_size
    colours = _colours(heat, scale).repeat(side, axis=0).repeat(side, axis=1)
    area = (slice(first, first + len(colours)),) * 2
    grey[area] = (1 - _HEAT_SHARE) * grey[area] + _HEAT_SHARE * colours
    return np.rint(grey).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def colour_bar(size: int, scale: HeatScale) -> UInt8[np.ndarray, "size size 3"]:
    """The colours of the heat with numbers beside them."""
    picture = Image.new("RGB", (size, size), "white")
    margin = _FONT_SIZE
    bar = colour_strip(size - 2 * margin, scale)[::-1, None].repeat(_BAR_WIDTH, axis=1)
    picture.paste(Image.fromarray(bar), (margin, margin))
    draw = ImageDraw.Draw(picture)
    for share, text in zip((1.0, 0.5, 0.0), scale.labels, strict=True):
        y = margin + round((1 - share) * (size - 2 * margin - 1))
        left = margin + _BAR_WIDTH
        draw.line([(left, y), (left + 5, y)], fill="black")
        draw.text((left + 9, y), text, fill="black", font=load_font(_FONT_SIZE), anchor="lm")
    return np.asarray(picture)


def colour_strip(size: int, scale: HeatScale) -> UInt8[np.ndarray, "size 3"]:
    """The colours of the heat from 0 to the top, mixed as in the overlay over a middle grey."""
    colours = _colours(np.linspace(0, scale.top, size), scale)
    return np.rint((1 - _HEAT_SHARE) * 127.5 + _HEAT_SHARE * colours).astype(np.uint8)


def _colours(values: np.ndarray, scale: HeatScale) -> np.ndarray:
    """[..., 3] in [0, 255]."""
    return 255 * matplotlib.colormaps[scale.colours](np.clip(values / scale.top, 0, 1))[..., :3]
