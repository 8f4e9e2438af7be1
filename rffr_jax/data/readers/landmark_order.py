"""Whether five or 68 points can be a face's in the order that `images.landmarks` asks for."""

import numpy as np
from jaxtyping import Float, Float32

from rffr_jax.images.landmarks import ALL, FIVE, to_five_landmarks

ORDER = {
    FIVE: "left eye, right eye, tip of the nose, left and right corner of the mouth",
    ALL: "the 68 of 300-W (jaw, brows, nose, eyes, lips)",
}
SMALLEST_EYE_DISTANCE = 2.0  # pixels; fractions of an image stay below


def find_landmark_problem(
    points: Float32[np.ndarray, "points 2"], size: tuple[int, int] | None = None
) -> str:
    """Why points are no face's in the order expected; empty if they can be one.

    A face may be turned in the picture by any angle, and from left to right to a profile.

    Args:
      points: the five or 68, in pixels of the image.
      size: width and height of the image, if known.
    """
    if not np.isfinite(points).all():
        return f"not the x and y of {ALL} or {FIVE} points with spaces between the numbers"
    five = (to_five_landmarks(points) if len(points) == ALL else points).astype(float)
    if (five < 0).any():
        return "eyes, nose or mouth lie outside of the picture"
    if size and (five >= size).any():
        return f"eyes, nose or mouth lie outside of the picture of {size[0]} x {size[1]} pixels"
    left, right, nose, mouth_left, mouth_right = five
    if np.linalg.norm(five.max(0) - five.min(0)) < SMALLEST_EYE_DISTANCE:
        return "all points are within 2 pixels; write pixels, not fractions of the image"
    eyes, mouth, middle = right - left, mouth_right - mouth_left, (left + right) / 2
    down = (mouth_left + mouth_right) / 2 - middle
    if eyes[0] * down[1] - eyes[1] * down[0] <= 0:
        return "left and right are swapped, or eyes and mouth"
    if eyes @ mouth <= 0.5 * np.linalg.norm(eyes) * np.linalg.norm(mouth):
        return "the line of the mouth is not that of the eyes"
    if not -0.2 < _height(nose - middle, down) < 1.2:
        return "the nose is not between eyes and mouth"
    if len(points) == ALL and _height(points[8] - middle, down) <= 1:
        return "the chin is not below the mouth"
    return ""


def _height(point: Float[np.ndarray, "2"], down: Float[np.ndarray, "2"]) -> float:
    """0 at the eyes, 1 at the mouth."""
    return float(point @ down / (down @ down))
