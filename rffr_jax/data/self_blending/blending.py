"""A self-blended pair: a real face and a fake made of it (Shiohara & Yamasaki, CVPR 2022).

    I_SB = M * S + (1 - M) * T

Pseudo source S and target T are the same face, one of the two with other colours and another
sharpness, S moved and stretched a little besides. The mask M is the hull of the face's landmarks,
deformed, blurred and weakened. So the fake has what swapped faces have in common (an edge of
blending, features out of place, two statistics in one picture) and no method's own traces. The
real of the pair is T: outside the mask the two are equal, so that nothing but the blend tells them
apart.

The code is our own; `docs/self_blending.md` says which ranges are the published method's.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.images.alignment import warp
from rffr_jax.images.landmarks import LandmarkedFace, to_68_landmarks
from rffr_jax.images.polygons import hull_mask

# Published.
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
SCALE = (0.95, 1 / 0.95)
SHIFT = (0.03, 0.015)  # at most, to either side: of the width, of the height
RGB = 20 / 255  # at most, up or down
RGB_PROBABILITY = 0.3
BRIGHTNESS_CONTRAST = 0.1  # at most, up or down
DOWN_SCALING = (2, 4)
# Chosen here: of sharpening nothing is published, and lengths are in pixels of crops of several
# hundred. Ours are fractions of the face's: the root of its hull's area in the crop.
SHARPENING = (0.3, 1.2)  # how much of what a blur of a pixel takes away is added
CELLS = 18  # of the grid of displacements, on a side of the crop
DISPLACEMENT, LARGEST_DISPLACEMENT = 0.008, 0.02  # standard deviation; bound of each coordinate
BLUR = (0.02, 0.12)  # radius of either blur
SMALLEST_FACE = 0.01  # share of the crop below which landmarks are taken for wrong


@dataclasses.dataclass(frozen=True)
class ColourChange:
    """A change of colours; zeros change nothing.

    Attributes:
      rgb: added to red, green and blue in [0, 1].
      brightness: added to all.
      contrast: 1 more than it multiplies with.
    """

    rgb: tuple[float, float, float]
    brightness: float
    contrast: float


@dataclasses.dataclass(frozen=True)
class BlendingParameters:
    """All that is random in a self-blended pair; the same for every size of a face.

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
    down_scaling: int
    scale: tuple[float, float]
    shift: tuple[float, float]
    displacement: Float32[np.ndarray, "cells cells 2"]
    blur: tuple[float, float]
    ratio: float


@dataclasses.dataclass(frozen=True)
class SelfBlended:
    """A self-blended image, its real and its mask M, in [0, ratio].

    Where the mask is 0, `image` and `real` are equal.
    """

    image: UInt8[np.ndarray, "side side 3"]
    real: UInt8[np.ndarray, "side side 3"]
    mask: Float32[np.ndarray, "side side"]


def sample_colour_change(
    rng: np.random.Generator, *, most: float = BRIGHTNESS_CONTRAST, probability: float = 1.0
) -> ColourChange:
    """A random change of colours.

    Args:
      most: brightness and contrast change by so much at most, up or down.
      probability: that they do; red, green and blue are shifted in `RGB_PROBABILITY` of all cases.
    """
    shifts, changes = rng.random(2) < (RGB_PROBABILITY, probability)
    red, green, blue = (rng.uniform(-RGB, RGB, 3) * shifts).tolist()
    brightness, contrast = (rng.uniform(-most, most, 2) * changes).tolist()
    return ColourChange((red, green, blue), brightness, contrast)


def sample_parameters(rng: np.random.Generator) -> BlendingParameters:
    """A random recipe: source or target, and sharpening or down-scaling, with p = 0.5 each."""
    changes_source, sharpens = (rng.random(2) < 0.5).tolist()
    strength, factor = rng.uniform(*SHARPENING), int(rng.choice(DOWN_SCALING))
    width, height = rng.uniform(*SCALE, 2).tolist()
    right, down = (rng.uniform(-1, 1, 2) * SHIFT).tolist()
    first, second = rng.uniform(*BLUR, 2).tolist()
    return BlendingParameters(
        changes_source=changes_source,
        colours=sample_colour_change(rng),
        sharpening=strength if sharpens else 0.0,
        down_scaling=1 if sharpens else factor,
        scale=(width, height),
        shift=(right, down),
        displacement=rng.normal(0, DISPLACEMENT, (CELLS, CELLS, 2)).astype(np.float32),
        blur=(first, second),
        ratio=RATIOS[rng.integers(len(RATIOS))],
    )


def self_blend(face: LandmarkedFace, recipe: BlendingParameters) -> SelfBlended:
    """A self-blended pair at the resolution of the face.

    Raises:
      ValueError: the landmarks enclose less than `SMALLEST_FACE` of the image.
    """
    base = face.image.astype(np.float32) / 255
    changed = _change_sharpness(change_colours(base, recipe.colours), recipe)
    source, target = (changed, base) if recipe.changes_source else (base, changed)
    source = _stretch_and_shift(source, recipe)
    mask = blending_mask(to_68_landmarks(face.landmarks), len(base), recipe)
    return SelfBlended(blend(source, target, mask), _to_uint8(target), mask)


def blend(
    source: Float32[np.ndarray, "side side 3"],
    target: Float32[np.ndarray, "side side 3"],
    mask: Float32[np.ndarray, "side side"],
) -> UInt8[np.ndarray, "side side 3"]:
    """M * S + (1 - M) * T of RGB in [0, 1], with a mask in [0, 1]."""
    return _to_uint8(target + cv2.merge([mask, mask, mask]) * (source - target))


def change_colours(
    image: Float32[np.ndarray, "height width 3"], colours: ColourChange
) -> Float32[np.ndarray, "height width 3"]:
    """RGB in [0, 1] with other colours, in [0, 1] again."""
    image = (image + np.array(colours.rgb, np.float32)).clip(0, 1)
    return (image * (1 + colours.contrast) + colours.brightness).clip(0, 1)


def _to_uint8(image: Float32[np.ndarray, "side side 3"]) -> UInt8[np.ndarray, "side side 3"]:
    return np.rint(image * 255).astype(np.uint8)


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
        few = max(1, side // recipe.down_scaling)
        small = cv2.resize(image, (few, few), interpolation=cv2.INTER_NEAREST)
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
