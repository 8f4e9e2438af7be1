"""A self-blended image: a fake made of one real face (Shiohara & Yamasaki, CVPR 2022).

    I_SB = M * S + (1 - M) * T

Pseudo source S and target T are the same face, one of the two with other colours and another
sharpness, S moved and stretched a little besides. The mask M is the hull of the face's landmarks,
deformed, blurred and weakened. So the fake has what swapped faces have in common (an edge of
blending, features out of place, two statistics in one picture) and no method's own traces.

Written from the paper's description. What is not in it is chosen here: the ranges of colours,
sharpness, deformation and blur.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.images.alignment import warp
from rffr_jax.images.landmarks import LandmarkedFace, to_68_landmarks
from rffr_jax.images.polygons import hull_mask

# The paper's.
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
SCALE = (0.95, 1 / 0.95)
SHIFT = (0.03, 0.015)  # at most, to either side: of the width, of the height
# Chosen here. Lengths are fractions of the face's: the root of its hull's area in the crop.
RGB, HUE, SATURATION, VALUE = 0.04, 6.0, 0.08, 0.05  # at most, up or down; the hue in degrees
BRIGHTNESS, CONTRAST = 0.05, 0.1
SHARPENING = (0.3, 1.2)  # how much of what a blur of a pixel takes away is added
DOWN_SCALING = (2.0, 4.0)
CELLS = 8  # of the grid of displacements, on a side of the crop
DISPLACEMENT, LARGEST_DISPLACEMENT = 0.04, 0.09  # standard deviation; bound of each coordinate
BLUR = (0.02, 0.12)  # radius of either blur
SMALLEST_FACE = 0.01  # share of the crop below which landmarks are taken for wrong


@dataclasses.dataclass(frozen=True)
class ColourChange:
    """A change of colours; zeros change nothing.

    Attributes:
      rgb: added to red, green and blue.
      hue, saturation, value: added in the HSV cone, the hue in degrees.
      brightness: added to all.
      contrast: 1 more than it multiplies with.
    """

    rgb: tuple[float, float, float]
    hue: float
    saturation: float
    value: float
    brightness: float
    contrast: float


@dataclasses.dataclass(frozen=True)
class BlendingParameters:
    """All that is random in a self-blended image; the same for every size of a face.

    Attributes:
      changes_source: whether colours and sharpness of the source are changed, else the target's.
      colours: how.
      sharpening: strength; 0 where it is down-scaled instead.
      down_scaling: factor, at least 1; 1 where it is sharpened instead.
      scale: of the source about its middle: width, height.
      shift: of the source, in widths and heights of the crop, to the right and down.
      displacement: of the mask, in lengths of the face.
      blur: radius of the first and of the second blur of the mask, in lengths of the face.
      ratio: by which the mask is multiplied.
    """

    changes_source: bool
    colours: ColourChange
    sharpening: float
    down_scaling: float
    scale: tuple[float, float]
    shift: tuple[float, float]
    displacement: Float32[np.ndarray, "cells cells 2"]
    blur: tuple[float, float]
    ratio: float


@dataclasses.dataclass(frozen=True)
class SelfBlended:
    """A self-blended image and its mask M, in [0, ratio]."""

    image: UInt8[np.ndarray, "side side 3"]
    mask: Float32[np.ndarray, "side side"]


def draw_colour_change(rng: np.random.Generator) -> ColourChange:
    """A random change of colours within the ranges of this file."""
    most = np.array([RGB, RGB, RGB, HUE, SATURATION, VALUE, BRIGHTNESS, CONTRAST])
    red, green, blue, *others = rng.uniform(-most, most).tolist()
    return ColourChange((red, green, blue), *others)


def draw_parameters(rng: np.random.Generator) -> BlendingParameters:
    """A random recipe: source or target, and sharpening or down-scaling, with p = 0.5 each."""
    changes_source, sharpens = (rng.random(2) < 0.5).tolist()
    strength, factor = rng.uniform(*SHARPENING), rng.uniform(*DOWN_SCALING)
    width, height = rng.uniform(*SCALE, 2).tolist()
    right, down = (rng.uniform(-1, 1, 2) * SHIFT).tolist()
    first, second = rng.uniform(*BLUR, 2).tolist()
    return BlendingParameters(
        changes_source=changes_source,
        colours=draw_colour_change(rng),
        sharpening=strength if sharpens else 0.0,
        down_scaling=1.0 if sharpens else factor,
        scale=(width, height),
        shift=(right, down),
        displacement=rng.normal(0, DISPLACEMENT, (CELLS, CELLS, 2)).astype(np.float32),
        blur=(first, second),
        ratio=RATIOS[rng.integers(len(RATIOS))],
    )


def self_blend(face: LandmarkedFace, recipe: BlendingParameters) -> SelfBlended:
    """A self-blended image at the resolution of the face.

    Raises:
      ValueError: the landmarks enclose less than `SMALLEST_FACE` of the image.
    """
    base = face.image.astype(np.float32) / 255
    changed = _change_sharpness(change_colours(base, recipe.colours), recipe)
    source, target = (changed, base) if recipe.changes_source else (base, changed)
    source = _stretch_and_shift(source, recipe)
    mask = blending_mask(to_68_landmarks(face.landmarks), len(base), recipe)
    blended = target + cv2.merge([mask, mask, mask]) * (source - target)
    return SelfBlended(np.rint(blended * 255).astype(np.uint8), mask)


def change_colours(
    image: Float32[np.ndarray, "height width 3"], colours: ColourChange
) -> Float32[np.ndarray, "height width 3"]:
    """RGB in [0, 1] with other colours, in [0, 1] again."""
    hsv = cv2.cvtColor((image + np.array(colours.rgb, np.float32)).clip(0, 1), cv2.COLOR_RGB2HSV)
    hue, saturation, value = cv2.split(hsv)  # planes, on which NumPy is several times faster
    hue = (hue + colours.hue) % 360
    saturation = (saturation + colours.saturation).clip(0, 1)
    value = (value + colours.value).clip(0, 1)
    image = cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2RGB)
    image *= 1 + colours.contrast
    image += colours.brightness
    return image.clip(0, 1)


def blending_mask(
    shape: Float32[np.ndarray, "68 2"], side: int, recipe: BlendingParameters
) -> Float32[np.ndarray, "side side"]:
    """The mask M: hull of the points, displaced, blurred twice, times the ratio.

    What the first blur leaves below 1 becomes 0, so that the mask shrinks by its radius; the
    second softens the edge and grows by its own. The larger of the two says which wins.

    Raises:
      ValueError: as for `self_blend`.
    """
    mask = hull_mask(shape, side)
    length = float(mask.sum()) ** 0.5
    if length < SMALLEST_FACE**0.5 * side:
        raise ValueError(f"its landmarks enclose less than {SMALLEST_FACE:.0%} of it")
    mask = _deform(mask, recipe.displacement, length)
    first, second = recipe.blur
    kept = (_blur(mask, first * length) > 1 - 1e-4).astype(np.float32)
    if kept.any():  # else the face is a narrow one, as in profile
        mask = kept
    return np.float32(recipe.ratio) * _blur(mask, second * length).clip(0, 1)


def _deform(
    mask: Float32[np.ndarray, "side side"],
    displacement: Float32[np.ndarray, "cells cells 2"],
    length: float,
) -> Float32[np.ndarray, "side side"]:
    """Elastic deformation: every pixel is taken from a place displaced by a smooth field."""
    side = len(mask)
    field = cv2.resize(displacement, (side, side), interpolation=cv2.INTER_CUBIC)
    field = length * field.clip(-LARGEST_DISPLACEMENT, LARGEST_DISPLACEMENT)
    axis = np.arange(side, dtype=np.float32)
    x, y = axis[None] + field[..., 0], axis[:, None] + field[..., 1]
    return cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _blur(
    mask: Float32[np.ndarray, "side side"], radius: float
) -> Float32[np.ndarray, "side side"]:
    """A Gaussian that ends after `radius` pixels, at 2.5 standard deviations."""
    pixels = max(1, round(radius))
    return cv2.GaussianBlur(
        mask, (2 * pixels + 1,) * 2, pixels / 2.5, borderType=cv2.BORDER_CONSTANT
    )


def _change_sharpness(image: np.ndarray, recipe: BlendingParameters) -> np.ndarray:
    side = len(image)
    if recipe.down_scaling > 1:
        few = max(1, round(side / recipe.down_scaling))
        small = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    detail = image - cv2.GaussianBlur(image, (0, 0), 1.0)
    return (image + np.float32(recipe.sharpening) * detail).clip(0, 1)


def _stretch_and_shift(image: np.ndarray, recipe: BlendingParameters) -> np.ndarray:
    """The source, stretched about its middle and shifted; its border is repeated outside."""
    side, (width, height), (right, down) = len(image), recipe.scale, recipe.shift
    middle = (side - 1) / 2
    matrix = np.array(
        [[width, 0, middle * (1 - width) + right * side],
         [0, height, middle * (1 - height) + down * side]]
    )  # fmt: skip
    return warp(image, matrix, side, antialias=False)
