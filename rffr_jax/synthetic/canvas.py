"""A surface to paint on in parts of its side: soft-edged polygons, lines, and clouds of noise.

Coordinates are x to the right and y down as fractions of the side, (0, 0) the picture's upper left
corner and (1, 1) its lower right one; shapes may reach beyond. Lengths are fractions of the side
too, so that the same strokes paint the same picture at every size.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float32

from rffr_jax.images.polygons import FIXED_POINT, FIXED_POINT_BITS, fill_polygons

Colour = Sequence[float] | Float[np.ndarray, "3"] | Float[np.ndarray, "3 size size"]
"""Red, green and blue, 0 to 1: one colour, or a picture as large as the canvas."""

_TURN = np.linspace(0, 2 * np.pi, 20, endpoint=False)
CIRCLE: Float[np.ndarray, "20 2"] = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)
"""Corners of a circle of radius 1 about (0, 0)."""

_Window = tuple[slice, slice]  # rows and columns, in pixels


class Canvas:
    """A square picture, and the ways of painting on it.

    Shapes are float arrays "corners 2" (one) or "shapes corners 2" (several, which make one mask:
    where an even number of polygons overlap is outside). Nothing is clipped to [0, 1].

    Attributes:
      image: red, green and blue planes, painted in place. Planes, because a mask times a picture
        is several times faster with the colours in front.
      size: side in pixels.
    """

    def __init__(self, image: Float32[np.ndarray, "3 size size"]):
        self.image = image
        self.size = image.shape[1]

    def mask(
        self, points: Float[np.ndarray, "*shapes corners 2"], blur: float = 0.0
    ) -> Float32[np.ndarray, "size size"]:
        """What polygons cover, without painting: 0 outside to 1 inside.

        Args:
          points: the corners, in fractions of the side.
          blur: standard deviation of the Gaussian that softens the edges, in the same unit;
            below 0.3 pixels the edges are only antialiased.
        """
        coverage = fill_polygons(_shapes(self._fixed(points)), self.size, self.size)
        return self._soften(coverage, blur)

    def fill(
        self,
        points: Float[np.ndarray, "*shapes corners 2"],
        colour: Colour,
        blur: float = 0.0,
        opacity: float = 1.0,
        clip: Float32[np.ndarray, "size size"] | None = None,
    ) -> None:
        """Paints polygons.

        Args:
          points: the corners, in fractions of the side.
          colour: one for all, or a picture of which the polygons show their part.
          blur: of the edges, as in `mask`.
          opacity: 0, nothing is painted, to 1, what lies below is hidden.
          clip: a mask, 0 to 1, by which the opacity is multiplied.
        """
        shapes, window = self._place(points, 3 * blur)
        coverage = fill_polygons(shapes, *_window_size(window))
        self._blend(self._soften(coverage, blur, opacity), window, colour, clip)

    def lines(
        self,
        points: Float[np.ndarray, "*shapes corners 2"],
        colour: Colour,
        width: float,
        blur: float = 0.0,
        opacity: float = 1.0,
        clip: Float32[np.ndarray, "size size"] | None = None,
        closed: bool = False,
    ) -> None:
        """Paints lines; those thinner than a pixel are painted one pixel wide and paler.

        Args:
          points: the corners, in fractions of the side.
          colour: as in `fill`.
          width: of the line, a fraction of the side.
          blur: as in `mask`.
          opacity: as in `fill`.
          clip: as in `fill`.
          closed: whether the last corner is joined to the first.
        """
        shapes, window = self._place(points, width + 3 * blur)
        coverage = np.zeros(_window_size(window), np.uint8)
        pixels = width * self.size
        thick = max(1, round(pixels))
        cv2.polylines(coverage, shapes, closed, 255, thick, cv2.LINE_AA, FIXED_POINT_BITS)
        paler = opacity * min(1.0, pixels / thick)
        self._blend(self._soften(coverage, blur, paler), window, colour, clip)

    def blend(self, mask: Float32[np.ndarray, "size size"], colour: Colour) -> None:
        """Paints a colour or a picture through a mask, 0 (stays) to 1 (is replaced)."""
        self._blend(mask, (slice(0, self.size), slice(0, self.size)), colour, None)

    def _blend(
        self, mask: np.ndarray, window: _Window, colour: Colour, clip: np.ndarray | None
    ) -> None:
        if clip is not None:
            mask = mask * clip[window]
        planes = np.asarray(colour, np.float32)
        planes = planes[:, *window] if planes.ndim == 3 else planes[:, None, None]
        part = self.image[:, *window]
        change = planes - part
        change *= mask
        part += change

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        """The points in OpenCV's fixed-point pixels, whose (0, 0) is the first pixel's centre."""
        return (points * (self.size * FIXED_POINT) - FIXED_POINT / 2).astype(np.int32)

    def _place(self, points: np.ndarray, margin: float) -> tuple[list[np.ndarray], _Window]:
        """The shapes in fixed-point pixels of the smallest window around them and a margin, and
        the window.
        """
        fixed = self._fixed(points)
        left, top, width, height = cv2.boundingRect(fixed.reshape(-1, 2))
        extra = int((margin * self.size + 2) * FIXED_POINT)
        rows = slice(self._pixel(top - extra), self._pixel(top + height + extra))
        columns = slice(self._pixel(left - extra), self._pixel(left + width + extra))
        fixed -= np.array([columns.start, rows.start], np.int32) * FIXED_POINT
        return _shapes(fixed), (rows, columns)

    def _pixel(self, fixed: int) -> int:
        return min(max(fixed // FIXED_POINT, 0), self.size)

    def _soften(self, coverage: np.ndarray, blur: float, opacity: float = 1.0) -> np.ndarray:
        """Coverage of 0 to 255 as a mask of 0 to `opacity`, blurred."""
        mask = coverage * np.float32(opacity / 255)
        sigma = blur * self.size
        if sigma < 0.3 or mask.size == 0:
            return mask
        side = 2 * math.ceil(2.5 * sigma) + 1
        return cv2.GaussianBlur(mask, (side, side), sigma)


def _shapes(fixed: np.ndarray) -> list[np.ndarray]:
    return [fixed] if fixed.ndim == 2 else list(fixed)


def _window_size(window: _Window) -> tuple[int, int]:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start


def move_down(
    line: Float[np.ndarray, "*shapes corners 2"], by: float | Float[np.ndarray, "..."]
) -> Float[np.ndarray, "*shapes corners 2"]:
    """Lines moved down by one length, or by one for every corner ("corners", "shapes corners")."""
    moved = line.copy()
    moved[..., 1] += by
    return moved


def between_lines(
    upper: Float[np.ndarray, "*shapes corners 2"], lower: Float[np.ndarray, "*shapes corners 2"]
) -> Float[np.ndarray, "*shapes twice_corners 2"]:
    """The polygons between pairs of lines that run the same way."""
    return np.concatenate([upper, lower[..., ::-1, :]], axis=-2)


def smooth_noise(
    rng: np.random.Generator, size: int, cells: tuple[int, ...], fade: float
) -> Float32[np.ndarray, "{size} {size}"]:
    """Smooth noise of several scales, each a grid of normal numbers spread over the picture.

    Args:
      rng: every number comes from it.
      size: side in pixels.
      cells: how many cells each grid has on a side, coarse to fine. From the first grid with more
        cells than pixels on none is sampled, so the coarse ones are the same at every size.
      fade: standard deviation of a grid, relative to that of the grid before; the first has 1.

    Returns:
      The sum of the grids, about 0 and unbounded.
    """
    total = np.zeros((size, size), np.float32)
    for octave, count in enumerate(cells):
        if count > size:
            break
        grid = rng.standard_normal((count, count), np.float32)
        grid *= fade**octave
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_LINEAR)
    return total
