"""Four manipulations of frames with 68 landmarks that share what the field's share.

They blend, resample, and render with a low-rank texture, each in a way of its own, so that a
detector of one can find another. They are made in the pixels of the frame, at its own scale. They
are no one's published manipulations and share no name with any benchmark's.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.errors import UserError
from rffr_jax.synthetic.autoencoder_swap import autoencoder_swap
from rffr_jax.synthetic.expression_transfer import expression_transfer
from rffr_jax.synthetic.landmark_swap import landmark_swap
from rffr_jax.synthetic.landmarked_frame import LandmarkedFrame, crop_face, pose_and_light_distance
from rffr_jax.synthetic.mouth_render import mouth_render
from rffr_jax.synthetic.texture_model import TextureModel

LANDMARK_METHODS: tuple[str, ...] = (
    "autoencoder_swap", "landmark_swap", "expression_transfer", "mouth_render"
)  # fmt: skip

CANDIDATES = 12  # for a donor


@dataclasses.dataclass(frozen=True)
class ManipulatedFrame:
    """A manipulated frame.

    Attributes:
      image: RGB in [0, 255]; equal to the frame where the mask is 0.
      mask: how much of a pixel is the manipulation's, 0 to 1.
    """

    image: UInt8[np.ndarray, "height width 3"]
    mask: Float32[np.ndarray, "height width"]


def pick_donor(
    frame: LandmarkedFrame, others: Sequence[LandmarkedFrame], rng: np.random.Generator
) -> LandmarkedFrame:
    """Of some random frames of other people the one that is turned and lit most like `frame`.

    Args:
      frame: the one that will be manipulated.
      others: frames of its split; its person's are passed over.
      rng: draws `CANDIDATES` of them.

    Raises:
      UserError: there is nobody else.
    """
    strangers = [i for i, other in enumerate(others) if other.person != frame.person]
    if not strangers:
        raise UserError(f"{frame.person} has no donor: give frames of another person")
    drawn = rng.choice(strangers, min(CANDIDATES, len(strangers)), replace=False)
    return min((others[i] for i in drawn), key=lambda other: pose_and_light_distance(frame, other))


def manipulate_frame(
    method: str,
    frame: LandmarkedFrame,
    donor: LandmarkedFrame,
    textures: TextureModel,
    rng: np.random.Generator,
) -> ManipulatedFrame:
    """One of LANDMARK_METHODS applied to a frame.

    Args:
      method: a name of LANDMARK_METHODS.
      frame: the real one.
      donor: a frame of another person at any scale: whose face is taken by the swaps, and whose
        expression or mouth by the other two.
      textures: of people of the frame's split (`texture_model.fit_texture_model`).
      rng: every random choice comes from it.

    Raises:
      UserError: the donor shows the same person.
      ValueError: unknown method.
    """
    if donor.person == frame.person:
        raise UserError(f"a donor of {frame.person} must be another person; give frames of more")
    (face, where), (other, _) = crop_face(frame), crop_face(donor)
    if method == "autoencoder_swap":
        made = autoencoder_swap(face, other, textures, rng)
    elif method == "landmark_swap":
        made = landmark_swap(face, other, rng)
    elif method == "expression_transfer":
        made = expression_transfer(face, other, rng)
    elif method == "mouth_render":
        made = mouth_render(face, other, textures, rng)
    else:
        raise ValueError(f"manipulation {method!r} is unknown; known: {LANDMARK_METHODS}")
    image, mask = frame.image.copy(), np.zeros(frame.image.shape[:2], np.float32)
    mask[where] = made.mask
    pixels = np.rint(made.image.clip(0, 1) * 255).astype(np.uint8)
    image[mask > 0] = pixels[made.mask > 0]
    return ManipulatedFrame(image, mask)
