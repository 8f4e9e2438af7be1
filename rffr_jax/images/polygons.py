"""Filled polygons as masks.

Coordinates are OpenCV's: x to the right, y down, in pixels, (0, 0) the centre of the first pixel.
OpenCV takes corners in fixed-point numbers: integers that count `1 / FIXED_POINT` pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

FIXED_POINT_BITS = 4
FIXED_POINT = 1 << FIXED_POINT_BITS


def fixed_point(points: Float[np.ndarray, "corners 2"]) -> Int32[np.ndarray, "corners 2"]:
    """Pixels as OpenCV's fixed-point numbers, rounded."""
    return np.rint(points * FIXED_POINT).astype(np.int32)


def fill_polygons(
    polygons: Sequence[Int32[np.ndarray, "_ 2"]], height: int, width: int
) -> UInt8[np.ndarray, "height width"]:
    """255 inside polygons, 0 outside, antialiased at the edges.

    Args:
      polygons: corners as fixed-point numbers; where an even number of polygons overlap is outside.
      height: of the mask, in pixels.
      width: of the mask, in pixels.
    """
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, polygons, 255, cv2.LINE_AA, FIXED_POINT_BITS)
    return mask


def hull_mask(
    points: Float[np.ndarray, "points 2"], side: int
) -> Float32[np.ndarray, "{side} {side}"]:
    """1 inside the convex hull of points, 0 outside, not antialiased."""
    hull = cv2.convexHull(points.astype(np.float32))[:, 0]
    mask = np.zeros((side, side), np.float32)
    cv2.fillConvexPoly(mask, fixed_point(hull), (1.0,), cv2.LINE_8, FIXED_POINT_BITS)
    return mask


def hull_overlap(
    one: Float[np.ndarray, "points 2"], other: Float[np.ndarray, "points 2"], side: int
) -> float:
    """Intersection over union of two convex hulls in a square of `side` pixels, 0 to 1."""
    first, second = (hull_mask(points, side) > 0 for points in (one, other))
    return float((first & second).sum() / max((first | second).sum(), 1))
