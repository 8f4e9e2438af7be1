"""mouth_render: the lower face rendered anew by a low-rank texture model, with another mouth.

Stands in for neural rendering of the mouth: the own texture without its finest detail, the mouth in
the shape of a driver's, matched in colour and blended with a soft edge.
"""

import numpy as np

from rffr_jax.synthetic.expression_transfer import MOUTH, move_parts
from rffr_jax.synthetic.face_mesh import MeshedFace, grow, soft_mask
from rffr_jax.synthetic.regions import ManipulatedFace, blend, match_lab
from rffr_jax.synthetic.texture_model import TextureModel, from_texture, to_texture

_OUTLINE = (*range(2, 15), 28)  # landmarks around the lower face: the jaw and the nose
_RANK = (40, 120)
_AMOUNT = (0.4, 0.9)
_GROWTH = (0.86, 0.96)  # of the mask, as a multiple of the outline
_FEATHER = (0.02, 0.04)


def mouth_render(
    face: MeshedFace, driver: MeshedFace, textures: TextureModel, rng: np.random.Generator
) -> ManipulatedFace:
    """The target `face` with a lower face that `textures` render, its mouth as `driver`'s."""
    own = to_texture(face)
    texture = textures.decode(textures.encode(own, int(rng.integers(*_RANK))), own)
    points = move_parts(face, driver, (MOUTH,), rng.uniform(*_AMOUNT))
    outline = grow(face.points[list(_OUTLINE)], rng.uniform(*_GROWTH))
    mask = soft_mask(face, outline, rng.uniform(*_FEATHER))
    rendered = match_lab(from_texture(texture, MeshedFace(face.image, points)), face.image, mask)
    return ManipulatedFace(blend(face.image, rendered, mask), mask)
