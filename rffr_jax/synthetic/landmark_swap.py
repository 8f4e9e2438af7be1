"""landmark_swap: another person's face warped onto the target's landmarks and Poisson-blended.

Stands in for swaps by graphics: the donor's own texture, resampled, affine in every triangle of the
mesh, in the target's colours, and blended in the gradient domain (Perez et al., 2003).
"""

import cv2
import numpy as np

from rffr_jax.images.polygons import fill_polygons, fixed_point
from rffr_jax.synthetic.face_mesh import MeshedFace, face_edge, grow, warp_mesh
from rffr_jax.synthetic.regions import ManipulatedFace, match_lab

_RESOLUTION = (0.5, 0.8)  # at which the donor's texture is kept, of the target's
_GROWTH = (0.76, 0.88)  # of the mask, as a multiple of the face's edge: its colours are skin's


def landmark_swap(face: MeshedFace, donor: MeshedFace, rng: np.random.Generator) -> ManipulatedFace:
    """The target `face` with the face of `donor`."""
    height, width, _ = face.image.shape
    texture = donor.scaled_down(rng.uniform(*_RESOLUTION) * face.size / donor.size)
    placed = warp_mesh(texture, face.points, height, width)
    outline = grow(face_edge(face.points), rng.uniform(*_GROWTH))
    inside = fill_polygons([fixed_point(outline)], height, width) > 127
    inside[[0, 1, -2, -1]] = inside[:, [0, 1, -2, -1]] = False  # the edge must lie in the image
    left, top, across, down = cv2.boundingRect(inside.astype(np.uint8))
    matched = match_lab(placed, face.image, inside.astype(np.float32))
    source, target = (np.rint(image * 255).astype(np.uint8) for image in (matched, face.image))
    blended = cv2.seamlessClone(
        source,
        target,
        inside.astype(np.uint8) * 255,
        (left + across // 2, top + down // 2),
        cv2.NORMAL_CLONE,
    )
    return ManipulatedFace(blended.astype(np.float32) / 255, inside.astype(np.float32))
