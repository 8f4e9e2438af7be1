"""One picture a face: the crop, its reconstruction, the residual, and where that is strongest."""

from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from rffr_jax.method.blocks import BlockGrid
from rffr_jax.predict.detector import Explanation
from rffr_jax.reports.contact_sheet import (
    IMAGE_SIZE,
    contact_sheet,
    font_file,
    image_pixels,
    residual_pixels,
)

HEAT_TOP = 0.5
"""Mean |residual| of a block that gets the last colour; the same in every picture."""

COLOURS = "inferno"
_HEAT_SHARE = 0.55
_BAR_WIDTH, _FONT_SIZE = 28, 13


def draw_evidence(
    path: Path, shown: Explanation, blocks: BlockGrid, patch_size: int, alpha: float, note: str
):
    """Writes a PNG: original | reconstruction | residual | heat by block | its colour bar.

    Columns that the detector has no picture for are left out.

    Args:
      path: of the PNG.
      blocks, patch_size: where the blocks of the heat lie.
      alpha: amplification of the residual.
      note: under the pictures: the score, the threshold and what must be said of the detector.
    """
    columns = {"original": image_pixels(shown.image)}
    if shown.reconstruction is not None:
        columns["reconstruction"] = image_pixels(shown.reconstruction)
    if shown.residual is not None:
        columns[f"residual x {alpha:g}"] = residual_pixels(shown.residual)
    factor = max(1, round(IMAGE_SIZE / shown.image.shape[0]))
    pictures = {name: _enlarged(image, factor) for name, image in columns.items()}
    if shown.heat is not None:
        heat = heat_overlay(columns["original"], shown.heat, blocks, patch_size)
        pictures["mean |residual| by block"] = _enlarged(heat, factor)
        pictures["colours"] = colour_bar(factor * shown.image.shape[0])
    contact_sheet(path, [list(pictures.values())], list(pictures), note)


def heat_overlay(
    image: UInt8[np.ndarray, "size size 3"],
    heat: Float32[np.ndarray, "k k"],
    blocks: BlockGrid,
    patch_size: int,
) -> UInt8[np.ndarray, "size size 3"]:
    """The image in grey, under the colours of its blocks; grey alone where no block reaches."""
    grey = np.asarray(Image.fromarray(image).convert("L").convert("RGB")).astype(np.float64)
    side, first = blocks.side * patch_size, blocks.offset * patch_size
    colours = _colours(heat).repeat(side, axis=0).repeat(side, axis=1)
    area = (slice(first, first + len(colours)),) * 2
    grey[area] = (1 - _HEAT_SHARE) * grey[area] + _HEAT_SHARE * colours
    return np.rint(grey).astype(np.uint8)


def colour_bar(size: int) -> UInt8[np.ndarray, "size size 3"]:
    """What the colours of the heat mean, with numbers beside them."""
    picture = Image.new("RGB", (size, size), "white")
    margin = _FONT_SIZE
    levels = np.linspace(1, 0, size - 2 * margin)[:, None] * HEAT_TOP
    # As the overlay mixes them, over a middle grey.
    bar = (1 - _HEAT_SHARE) * 127.5 + _HEAT_SHARE * _colours(levels).repeat(_BAR_WIDTH, axis=1)
    picture.paste(Image.fromarray(np.rint(bar).astype(np.uint8)), (margin, margin))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.truetype(font_file(), _FONT_SIZE)
    for share, prefix in ((1.0, "≥ "), (0.5, ""), (0.0, "")):
        y = margin + (1 - share) * (size - 2 * margin - 1)
        left = margin + _BAR_WIDTH
        draw.line([(left, y), (left + 5, y)], fill="black")
        text = f"{prefix}{share * HEAT_TOP:g}"
        draw.text((left + 9, y), text, fill="black", font=font, anchor="lm")
    return np.asarray(picture)


def _colours(values: np.ndarray) -> np.ndarray:
    """[..., 3] in [0, 255]."""
    return 255 * matplotlib.colormaps[COLOURS](np.clip(values / HEAT_TOP, 0, 1))[..., :3]


def _enlarged(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)
