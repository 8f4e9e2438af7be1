"""autoencoder_swap: another person's face, rendered by a low-rank texture model.

Stands in for swaps by autoencoders: the donor's face at a low resolution without its finest
detail, in the target's light, warped onto its landmarks, matched in colour and blended with a soft
edge.
"""

import numpy as np

from rffr_jax.synthetic.face_mesh import MeshedFace, face_edge, grow, soft_mask
from rffr_jax.synthetic.regions import ManipulatedFace, blend, match_lab
from rffr_jax.synthetic.texture_model import TextureModel, from_texture, to_texture

_RANK = (40, 120)
_LIGHT = 4  # so many components, the strongest, are mostly light and colour
_GROWTH = (0.86, 0.96)  # of the mask, as a multiple of the face's edge
_FEATHER = (0.025, 0.05)


def autoencoder_swap(
    face: MeshedFace, donor: MeshedFace, textures: TextureModel, rng: np.random.Generator
) -> ManipulatedFace:
    """The target `face` with the face of `donor` as `textures` render it."""
    own, rank = to_texture(face), int(rng.integers(*_RANK))
    code = textures.encode(to_texture(donor), rank)
    light = min(_LIGHT, len(code) // 4)
    code[:light] = textures.encode(own, light)
    outline = grow(face_edge(face.points), rng.uniform(*_GROWTH))
    mask = soft_mask(face, outline, rng.uniform(*_FEATHER))
    rendered = match_lab(from_texture(textures.decode(code, own), face), face.image, mask)
    return ManipulatedFace(blend(face.image, rendered, mask), mask)
