"""A mesh over the 68 landmarks: what moves the pixels of one face onto the points of another.

The mesh has the 68 points, five on the forehead and a ring around them. Its triangles are those of
Delaunay's triangulation of the mean face, so that all faces share them. A warp is affine in each.
Lengths are fractions of the face's size, the root of the area within its edge.
"""

import dataclasses
import functools
import math

import cv2
import numpy as np
import scipy.spatial
from jaxtyping import Float, Float32, Int64

from rffr_jax.images.landmarks import TEMPLATE_68
from rffr_jax.images.polygons import FIXED_POINT_BITS, fill_polygons, fixed_point
from rffr_jax.synthetic.regions import feather

_FOREHEAD = slice(68, 73)  # of a mesh's points: above the brows, from the left to the right
_BROWS = ((17,), (19,), (21, 22), (24,), (26,))  # below the forehead's points
_LIFT = (0.08, 0.14, 0.16, 0.14, 0.08)  # over the brows, of the height from chin to bridge
_RING = 1.35  # how much farther out than the face's edge
_SMALLEST_AREA = 0.25  # of a triangle that is drawn, in square pixels


@dataclasses.dataclass(frozen=True)
class MeshedFace:
    """A part of an image with the mesh of a face.

    Attributes:
      image: RGB in [0, 1].
      points: corners of the mesh, x and y in pixels of `image`; they may lie outside.
    """

    image: Float32[np.ndarray, "height width 3"]
    points: Float32[np.ndarray, "95 2"]

    @property
    def size(self) -> float:
        """The root of the area within the face's edge, in pixels."""
        return math.sqrt(cv2.contourArea(face_edge(self.points)))

    def scaled_down(self, factor: float) -> "MeshedFace":
        """The face at `factor` of its size, antialiased; a factor over 1 changes nothing."""
        if factor >= 1:
            return self
        height, width, _ = self.image.shape
        size = (max(2, round(width * factor)), max(2, round(height * factor)))
        small = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
        points = (self.points + 0.5) * (np.array(size) / (width, height)) - 0.5
        return MeshedFace(small, points.astype(np.float32))


def mesh_points(landmarks: Float[np.ndarray, "68 2"]) -> Float32[np.ndarray, "95 2"]:
    """The corners of a face's mesh: its landmarks, its forehead and a ring around the face."""
    up = landmarks[27] - landmarks[8]
    brows = np.stack([landmarks[list(brow)].mean(0) for brow in _BROWS])
    points = np.concatenate([landmarks, brows + np.array(_LIFT)[:, None] * up])
    edge = face_edge(points)
    return np.concatenate([points, grow(edge, _RING)]).astype(np.float32)


def face_edge(points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "22 2"]:
    """The outline of a mesh's face: from the left ear by the chin to the right, over the brows."""
    return np.concatenate([points[:17], points[_FOREHEAD][::-1]])


def soft_mask(
    face: MeshedFace, outline: Float32[np.ndarray, "corners 2"], width: float
) -> Float32[np.ndarray, "height width"]:
    """1 inside an outline in pixels, 0 outside, with an edge of about 4 `width` of the face."""
    inside = fill_polygons([fixed_point(outline)], *face.image.shape[:2])
    return feather(inside * np.float32(1 / 255), width * face.size)


def grow(outline: Float[np.ndarray, "corners 2"], factor: float) -> Float[np.ndarray, "corners 2"]:
    """The outline with every corner `factor` times as far from its middle."""
    middle = outline.mean(0)
    return middle + factor * (outline - middle)


@functools.cache
def triangles() -> Int64[np.ndarray, "triangles 3"]:
    """The corners of every triangle as numbers of mesh points."""
    corners = scipy.spatial.Delaunay(mesh_points(TEMPLATE_68).astype(np.float64)).simplices
    return corners.astype(np.int64)


def warp_mesh(
    face: MeshedFace, points: Float32[np.ndarray, "95 2"], height: int, width: int
) -> Float32[np.ndarray, "{height} {width} 3"]:
    """The image of `face` with its mesh moved onto `points`; beyond the ring every pixel stays.

    Args:
      face: no larger than the result, or pixels are skipped (`MeshedFace.scaled_down`).
      points: corners of the mesh in pixels of the result.
      height: of the result, in pixels.
      width: of the result, in pixels.
    """
    columns, rows = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (width, height)))
    maps = np.concatenate([_affine_maps(face.points, points), [np.eye(2, 3)]]).astype(np.float32)
    # Of every pixel the six numbers of its triangle's map.
    a, b, c, d, e, f = maps.reshape(-1, 6).T[:, _triangle_of_pixel(points, height, width)]
    x, y = a * columns + b * rows + c, d * columns + e * rows + f
    moved = cv2.remap(face.image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return moved.clip(0, 1)


def _triangle_of_pixel(
    points: Float32[np.ndarray, "95 2"], height: int, width: int
) -> Int64[np.ndarray, "height width"]:
    """The number of the triangle that covers a pixel; -1 (the last) where none does."""
    numbers = np.full((height, width), -1, np.int32)
    corners = points[triangles()]
    for number in np.flatnonzero(_areas(corners) > _SMALLEST_AREA).tolist():
        triangle = fixed_point(corners[number])
        cv2.fillConvexPoly(numbers, triangle, (number,), cv2.LINE_8, FIXED_POINT_BITS)
    return numbers.astype(np.int64)


def _affine_maps(
    source: Float32[np.ndarray, "95 2"], target: Float32[np.ndarray, "95 2"]
) -> Float[np.ndarray, "triangles 2 3"]:
    """Of every triangle the map from pixels of `target` to pixels of `source`."""
    corners = np.ones((len(triangles()), 3, 3))
    corners[..., :2] = target[triangles()]
    corners[_areas(corners[..., :2]) <= _SMALLEST_AREA] = np.eye(3)  # not drawn
    return np.linalg.solve(corners, source[triangles()].astype(np.float64)).transpose(0, 2, 1)


def _areas(corners: Float[np.ndarray, "triangles 3 2"]) -> Float[np.ndarray, "triangles"]:
    (ax, ay), (bx, by) = (corners[:, 1:] - corners[:, :1]).transpose(1, 2, 0)
    return np.abs(ax * by - ay * bx) / 2
