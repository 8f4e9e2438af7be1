"""expression_transfer: the own texture, moved by the expression of another frame.

Stands in for re-enactment: brows, eyes and mouth take the shape that they have in the frame of a
driver, the face is rendered from its own texture, resampled, and blended with a soft edge.
"""

import numpy as np
from jaxtyping import Float32

from rffr_jax.images.alignment import estimate_similarity, transform_points
from rffr_jax.synthetic.face_mesh import MeshedFace, face_edge, grow, soft_mask, warp_mesh
from rffr_jax.synthetic.regions import ManipulatedFace, blend

MOUTH = slice(48, 68)
_PARTS = (slice(17, 22), slice(22, 27), slice(36, 42), slice(42, 48), MOUTH)
_CHIN = {5: 0.3, 6: 0.6, 7: 0.9, 8: 1.0, 9: 0.9, 10: 0.6, 11: 0.3}  # share of the lower lip's move
_LOWER_LIP = slice(56, 59)
_LARGEST_MOVE = 0.09  # of a point, of the face's size
_AMOUNT = (0.6, 1.0)
_RESOLUTION = (0.5, 0.8)  # at which the texture is kept
_GROWTH = (0.9, 0.98)  # of the mask, as a multiple of the face's edge
_FEATHER = (0.025, 0.05)


def expression_transfer(
    face: MeshedFace, driver: MeshedFace, rng: np.random.Generator
) -> ManipulatedFace:
    """The target `face` with the expression of `driver`."""
    points = move_parts(face, driver, _PARTS, rng.uniform(*_AMOUNT))
    texture = face.scaled_down(rng.uniform(*_RESOLUTION))
    outline = grow(face_edge(face.points), rng.uniform(*_GROWTH))
    mask = soft_mask(face, outline, rng.uniform(*_FEATHER))
    rendered = warp_mesh(texture, points, *face.image.shape[:2])
    return ManipulatedFace(blend(face.image, rendered, mask), mask)


def move_parts(
    face: MeshedFace, driver: MeshedFace, parts: tuple[slice, ...], amount: float
) -> Float32[np.ndarray, "95 2"]:
    """The mesh of `face` with the shape of some parts moved towards the driver's.

    Args:
      face: its parts keep their places, and the edge stays but for the chin.
      driver: of its mesh the shape is taken, fitted to the face by rotation and scale.
      parts: which landmarks move together; the chin follows the lower lip.
      amount: 1 takes the driver's shape, 0 changes nothing.
    """
    fitted = transform_points(
        driver.points, estimate_similarity(driver.points[:68], face.points[:68])
    )
    points = face.points.copy()
    limit = _LARGEST_MOVE * face.size
    for part in parts:
        own, other = face.points[part], fitted[part]
        move = amount * ((other - other.mean(0)) - (own - own.mean(0)))
        points[part] += move.clip(-limit, limit)
    drop = (points[_LOWER_LIP] - face.points[_LOWER_LIP]).mean(0)
    for point, share in _CHIN.items():
        points[point] += np.float32(share) * drop
    return points
