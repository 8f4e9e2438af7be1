"""Whether a face can be judged at all: one too small, too dark or too blurred is `unknown`.

The score of a face that cannot be seen depends on the camera, not on the face.
"""

import cv2
import numpy as np
from jaxtyping import UInt8

DARKEST = 20.0
"""Mean luma in [0, 255]. The darkest of 150 FFHQ faces has 50."""

LEAST_SHARPNESS = 0.05
"""`sharpness`. 150 FFHQ crops of 224 pixels have 0.30 to 0.99. Blurred by a Gaussian of 4 pixels,
they have 0.04 to 0.11 (median 0.06), of 6 pixels 0.03 to 0.07 (median 0.04)."""

_SIDE = 112


def brightness(crop: UInt8[np.ndarray, "height width 3"]) -> float:
    """Mean luma in [0, 255]."""
    return float(_luma(crop).mean())


def sharpness(crop: UInt8[np.ndarray, "height width 3"]) -> float:
    """Standard deviation of the luma's Laplacian over that of the luma, at 112 x 112 pixels.

    It does not depend on contrast and brightness; 0 for an even surface.
    """
    luma = cv2.resize(_luma(crop), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    spread = float(luma.std())
    return float(cv2.Laplacian(luma, cv2.CV_32F).std()) / spread if spread > 0 else 0.0


def too_small_reason(side: float, smallest: int, image_size: int, *, known: bool) -> str:
    """Why a face is too small to be judged; '' if it is not.

    Args:
      side: the shorter one of its box, in pixels of the picture.
      smallest: the least side of a face that is judged.
      image_size: of the crops that the detector reads.
      known: whether the detector was trained on faces of `smallest` and more.
    """
    if side >= smallest:
        return ""
    pixels = f"too small: {int(side)} pixels"
    if known:
        return f"{pixels}, the detector was trained on faces of {smallest} and more"
    return f"{pixels}, at least {smallest} are needed for crops of {image_size}"


def unusable_reason(
    crop: UInt8[np.ndarray, "height width 3"], darkest: float, least_sharpness: float
) -> str:
    """Why a crop cannot be judged: `too dark` or `too blurred` with the numbers; '' if it can.

    Args:
      darkest, least_sharpness: the limits; 0 allows every crop.
    """
    light, sharp = brightness(crop), sharpness(crop)
    if light < darkest:
        return f"too dark (mean brightness {light:.0f} of 255, at least {darkest:g} is needed)"
    if sharp < least_sharpness:
        return f"too blurred (sharpness {sharp:.3f}, at least {least_sharpness:g} is needed)"
    return ""


def _luma(crop: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
