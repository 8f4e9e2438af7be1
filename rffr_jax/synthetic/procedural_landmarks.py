"""The 68 landmarks of a procedural face, taken from the lines that it is painted along."""

import numpy as np
from jaxtyping import Float32

from rffr_jax.synthetic.person import (
    Person,
    brows,
    coarse_generator,
    eyelids,
    head_outline,
    lips,
)

_EAR_TO_EAR = np.linspace(1.5, 0.5, 17) * np.pi  # of the head's edge, from the left by the chin


def procedural_landmarks(seed: int, identity: int) -> Float32[np.ndarray, "68 2"]:
    """Where the points of `landmarks` lie in `procedural.render_face`'s picture of one person.

    Args:
      seed: which world of people.
      identity: which person of it.

    Returns:
      x, y as fractions of the side, from the picture's upper left corner.
    """
    person = Person(coarse_generator(seed, identity))
    left_eye, right_eye, tip = person.landmarks[:3]
    bridge = np.linspace((left_eye + right_eye) / 2, tip, 4)
    below = tip + np.linspace([-1, 0], [1, 0], 5) * person.nose_width + [0, 0.028]
    upper, lower = eyelids(person)
    eyes = np.concatenate([upper[:, [0, 4, 8, 12]], lower[:, [8, 4]]], 1).reshape(-1, 2)
    top, inner_top, inner_low, low = lips(person)
    mouth = [top[[0, 2, 4, 6, 8, 10, 12]], low[[10, 8, 6, 4, 2]]]
    mouth += [inner_top[[1, 4, 6, 8, 11]], inner_low[[8, 6, 4]]]
    jaw, brow = head_outline(person, turn=_EAR_TO_EAR), brows(person)[:, ::3].reshape(-1, 2)
    return np.concatenate([jaw, brow, bridge, below, eyes, *mouth]).astype(np.float32)
