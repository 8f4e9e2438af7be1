"""A low-rank model of the texture of faces: principal components of shape-free faces.

Every face is warped to the mean shape (as in active appearance models, Cootes et al., 2001), where
its pixels are a point near the plane that the principal components span. A face rendered by the
model has the low resolution and the missing detail of an autoencoder's.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float32

from rffr_jax.errors import UserError
from rffr_jax.images.landmarks import TEMPLATE_68
from rffr_jax.images.polygons import hull_mask
from rffr_jax.synthetic.face_mesh import MeshedFace, face_edge, grow, mesh_points, warp_mesh
from rffr_jax.synthetic.landmarked_frame import LandmarkedFrame, crop_face

SIDE = 64  # of a texture, in pixels: its eyes lie 24 apart
FEWEST_PEOPLE = 8
MOST_FACES = 500
_CORNER, _EXTENT = (0.18, 0.278), 0.64  # of the texture in the template crop
_MARGIN = 1.1  # how much larger than the face the modelled region is

# The mesh of the mean face in pixels of a texture.
TEXTURE_POINTS: Float32[np.ndarray, "95 2"] = mesh_points(
    ((TEMPLATE_68 - _CORNER) / _EXTENT * SIDE - 0.5).astype(np.float32)
)
_TEXTURE_SIZE = MeshedFace(np.zeros((SIDE, SIDE, 3), np.float32), TEXTURE_POINTS).size


@dataclasses.dataclass(frozen=True)
class TextureModel:
    """Mean and principal components of the pixels in `inside`.

    Attributes:
      mean: RGB in [0, 1] of the pixels of the face.
      components: orthonormal, the strongest first.
      inside: which pixels of a texture are modelled.
    """

    mean: Float32[np.ndarray, " values"]
    components: Float32[np.ndarray, "rank values"]
    inside: np.ndarray

    def encode(
        self, texture: Float32[np.ndarray, "64 64 3"], rank: int
    ) -> Float32[np.ndarray, " code"]:
        """Its coefficients of the first `rank` components, or of all where there are fewer."""
        return self.components[:rank] @ (texture[self.inside].ravel() - self.mean)

    def decode(
        self, code: Float32[np.ndarray, " code"], around: Float32[np.ndarray, "64 64 3"]
    ) -> Float32[np.ndarray, "64 64 3"]:
        """The texture of some coefficients, with the pixels of `around` around the face."""
        texture = around.copy()
        texture[self.inside] = (
            (self.mean + code @ self.components[: len(code)]).clip(0, 1).reshape(-1, 3)
        )
        return texture


def to_texture(face: MeshedFace) -> Float32[np.ndarray, "64 64 3"]:
    """A face warped to the mean shape; RGB in [0, 1]."""
    small = face.scaled_down(_TEXTURE_SIZE / face.size)
    return warp_mesh(small, TEXTURE_POINTS, SIDE, SIDE)


def from_texture(
    texture: Float32[np.ndarray, "64 64 3"], face: MeshedFace
) -> Float32[np.ndarray, "height width 3"]:
    """A texture warped onto the mesh of `face`, at the resolution of its image."""
    return warp_mesh(MeshedFace(texture, TEXTURE_POINTS), face.points, *face.image.shape[:2])


def fit_texture_model(frames: Sequence[LandmarkedFrame]) -> TextureModel:
    """The model of the people in `frames`: those of one split, so that no other split is in it.

    At most 500 evenly spaced frames are used; a third as many components are kept, so that no
    face is remembered as it is.

    Raises:
      UserError: the frames show fewer than `FEWEST_PEOPLE` people.
    """
    people = {frame.person for frame in frames}
    if len(people) < FEWEST_PEOPLE:
        raise UserError(
            f"a texture model needs frames of at least {FEWEST_PEOPLE} people, there are "
            f"{len(people)}: give more people to this split"
        )
    count = min(len(frames), MOST_FACES)
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int).tolist()
    inside = _inside()
    textures = np.stack([to_texture(crop_face(frames[i])[0])[inside].ravel() for i in chosen])
    mean = textures.mean(0)
    textures -= mean
    # The right singular vectors by way of the small matrix of products.
    _, vectors = scipy.linalg.eigh(
        textures @ textures.T, subset_by_index=(count - max(1, count // 3), count - 1)
    )
    components = vectors.T[::-1] @ textures
    components /= np.linalg.norm(components, axis=1, keepdims=True)
    return TextureModel(mean, components, inside)


def _inside() -> np.ndarray:
    return hull_mask(grow(face_edge(TEXTURE_POINTS), _MARGIN), SIDE) > 0
