"""What the manipulations share: their result, regions of a face, blending and detail.

Positions are fractions of the template crop (`rffr_jax.images.alignment`); a face's landmarks say
where they lie in its image.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32

from rffr_jax.images.alignment import AlignedFace, transform_points
from rffr_jax.images.polygons import fill_polygons, fixed_point


@dataclasses.dataclass(frozen=True)
class ManipulatedFace:
    """A manipulated face.

    Attributes:
      image: RGB in [0, 1].
      mask: how much of a pixel is the manipulation's, 0 to 1; feathered where the method blends.
    """

    image: Float32[np.ndarray, "height width 3"]
    mask: Float32[np.ndarray, "height width"]


def ellipse_points(x: float, y: float, rx: float, ry: float, count: int) -> np.ndarray:
    """`count` points of an ellipse, in fractions of the template crop."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def polygon_mask(face: AlignedFace, points: np.ndarray) -> Float32[np.ndarray, "size size"]:
    """Coverage of a polygon given in fractions of the template crop; its edge is 1 pixel wide."""
    pixels = (np.asarray(points) * face.size - 0.5).astype(np.float32)
    outline = fixed_point(transform_points(pixels, face.from_template()))
    return fill_polygons([outline], face.size, face.size) * np.float32(1 / 255)


def feather(
    mask: Float32[np.ndarray, "height width"], width: float
) -> Float32[np.ndarray, "height width"]:
    """The mask with an edge that fades over about 4 * `width` pixels, and is 0 beyond."""
    soft = cv2.GaussianBlur(mask, (0, 0), width)
    return np.clip((soft - 0.02) / 0.96, 0, 1).astype(np.float32)


def blend(
    below: Float32[np.ndarray, "height width 3"],
    above: Float32[np.ndarray, "height width 3"],
    mask: Float32[np.ndarray, "height width"],
) -> Float32[np.ndarray, "height width 3"]:
    """`above` where the mask is 1, `below` where it is 0."""
    return below + cv2.merge([mask, mask, mask]) * (above - below)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with `sigma` in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def match_detail(
    detail: Float32[np.ndarray, "height width 3"],
    wanted: Float32[np.ndarray, "height width 3"],
    window: float,
    limit: float,
) -> Float32[np.ndarray, "height width 3"]:
    """`detail` scaled so that its energy within `window` pixels is that of `wanted`.

    Energies are pooled over the colours; the gain stays between 1 / `limit` and `limit`.
    """
    have, want = (
        blur(cv2.transform(part * part, np.full((1, 3), 1 / 3)), window)
        for part in (detail, wanted)
    )
    gain = np.sqrt((want + 1e-7) / (have + 1e-7)).clip(1 / limit, limit)
    return detail * cv2.merge([gain, gain, gain])


def match_lab(
    image: Float32[np.ndarray, "height width 3"],
    like: Float32[np.ndarray, "height width 3"],
    mask: Float32[np.ndarray, "height width"],
) -> Float32[np.ndarray, "height width 3"]:
    """`image` with the mean and spread of `like` within the mask, channel by channel in LAB
    (Reinhard et al., 2001)."""
    inside = (mask > 0.5).astype(np.uint8)
    lab, wanted = (cv2.cvtColor(picture, cv2.COLOR_RGB2LAB) for picture in (image, like))
    mean, spread = cv2.meanStdDev(lab, mask=inside)
    wanted_mean, wanted_spread = cv2.meanStdDev(wanted, mask=inside)
    gain = np.clip(wanted_spread / (spread + 1e-3), 0.6, 1.6)
    offset = wanted_mean - gain * mean
    matched = cv2.transform(lab, np.concatenate([np.diag(gain[:, 0]), offset], 1))
    return cv2.cvtColor(matched, cv2.COLOR_LAB2RGB).clip(0, 1)
