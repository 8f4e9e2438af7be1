"""One procedural person: proportions, colours, style of hair, lines and landmarks of the face.

All positions are fractions of the crop, so that one identity is the same person at every size.
"""

import math

import numpy as np
from jaxtyping import Float, Float32

from rffr_jax.images.alignment import TEMPLATE
from rffr_jax.synthetic.canvas import move_down

ALONG = np.linspace(-1, 1, 13)  # along a lid, a brow or a lip
_STRAIGHT = np.stack([ALONG, 0 * ALONG], 1)
OUTWARD = np.stack([-ALONG, ALONG])  # towards the ear, of the left and the right eye
_HEAD_TURN = np.linspace(0, 2 * np.pi, 64, endpoint=False)
_EAR_TO_EAR = np.linspace(1.5, 0.5, 17) * np.pi  # of the head's edge, from the left by the chin
_SKIN = np.array([[0.95, 0.79, 0.70], [0.86, 0.66, 0.54], [0.62, 0.43, 0.31], [0.36, 0.24, 0.17]])
_HAIR = np.array(
    [[0.07, 0.06, 0.06], [0.20, 0.13, 0.09], [0.38, 0.25, 0.15], [0.74, 0.58, 0.36],
     [0.52, 0.24, 0.12], [0.66, 0.65, 0.64]]
)  # fmt: skip
_IRIS = np.array([[0.22, 0.13, 0.08], [0.35, 0.24, 0.12], [0.35, 0.45, 0.55], [0.33, 0.42, 0.28]])


def coarse_generator(seed: int, identity: int) -> np.random.Generator:
    """Of a person first, then of all in the picture but its finest detail."""
    return np.random.default_rng(np.random.SeedSequence([seed, identity, 0xFACE]))


class Person:
    """What is sampled once for an identity: proportions, colours, style of hair.

    Positions and lengths are fractions of the crop.
    """

    def __init__(self, rng: np.random.Generator):
        tone = np.clip(rng.beta(1.1, 1.6) * 3, 0, 3)
        self.skin = _between(_SKIN, tone) * rng.normal(1, 0.025, 3)
        self.hair = _HAIR[rng.choice(6, p=[0.3, 0.25, 0.2, 0.12, 0.05, 0.08])]
        if tone > 1.7:
            self.hair = _HAIR[rng.integers(2)]
        self.hair = self.hair * rng.normal(1, 0.08) * rng.normal(1, 0.03, 3)
        self.iris = _IRIS[rng.integers(4 if tone < 1.3 else 2)] * rng.normal(1, 0.08, 3)
        self.lips = self.skin * [rng.uniform(0.82, 1), rng.uniform(0.55, 0.75), 0.72]

        self.turn = rng.normal(0, 0.012)  # of the head to one side
        landmarks = np.array(TEMPLATE) + rng.normal(0, 0.004, (5, 2))
        landmarks[:2, 0] += [self.turn / 2 - rng.normal(0, 0.006), self.turn / 2]
        landmarks[2] += [self.turn, rng.normal(0, 0.008)]
        landmarks[3:] += [self.turn * 0.7, rng.normal(0, 0.008)]
        widen = rng.normal(0, 0.009)
        landmarks[3:, 0] += [-widen, widen]
        self.landmarks = landmarks

        self.width = rng.uniform(0.225, 0.265)
        self.chin = rng.uniform(0.885, 0.945)
        self.top = rng.uniform(0.05, 0.11)
        self.jaw = rng.uniform(0.62, 0.9)
        self.taper = rng.uniform(0.02, 0.16)
        self.eye_open = rng.uniform(0.014, 0.022)
        self.eye_long = rng.uniform(0.043, 0.051)
        self.slant = rng.normal(0, 0.06)
        self.gaze = rng.normal(0, [0.005, 0.002])
        self.brow_height = rng.uniform(0.052, 0.07)
        self.brow_thick = rng.uniform(0.006, 0.014)
        self.brow_arch = rng.uniform(0.004, 0.018)
        self.nose_width = rng.uniform(0.032, 0.046)
        self.lip_height = rng.uniform(0.014, 0.026)
        self.smile = rng.uniform(-0.006, 0.02)
        self.mouth_open = rng.uniform(0.008, 0.026) if rng.random() < 0.35 else 0.0
        self.beard = rng.uniform(0.2, 0.75) if rng.random() < 0.25 else 0.0
        self.freckles = (
            int(rng.integers(40, 120)) if rng.random() < 0.15 else int(rng.integers(3, 14))
        )
        self.glasses = rng.random() < 0.1
        self.bald = rng.random() < 0.06
        self.long_hair = rng.random() < 0.5
        self.hair_volume = rng.uniform(0.02, 0.06)
        self.hairline = rng.uniform(0.2, 0.3)
        self.parting = rng.normal(0, 0.08)
        self.curl = rng.uniform(0, 0.05)

        angle = rng.uniform(-1, 1)
        light = np.array([math.sin(angle), rng.uniform(-0.7, -0.1), math.cos(angle)])
        self.light = light / np.linalg.norm(light)
        self.ambient = rng.uniform(0.35, 0.65)
        self.gloss = rng.uniform(0.02, 0.14)


def _between(table: np.ndarray, position: float) -> np.ndarray:
    """The row of `table` at a fractional position."""
    low = min(int(position), len(table) - 2)
    return table[low] + (position - low) * (table[low + 1] - table[low])


def head_outline(
    person: Person, grow: float = 0.0, turn: np.ndarray = _HEAD_TURN
) -> Float[np.ndarray, "angles 2"]:
    """The head's edge at angles from the crown (0) by the right ear to the chin (pi) and on."""
    sine, cosine = np.sin(turn), np.cos(turn)
    up, down = 0.5 - person.top + grow, person.chin - 0.5 + grow
    across = np.sign(sine) * np.abs(sine) ** np.where(cosine < 0, person.jaw, 0.9)
    across = across * np.where(cosine < 0, 1 + person.taper * cosine, 1)
    x = 0.5 + person.turn / 2 + (person.width + grow) * across
    return np.stack([x, 0.5 - np.where(cosine > 0, up, down) * cosine], 1)


def eyelids(person: Person) -> tuple[Float[np.ndarray, "2 13 2"], Float[np.ndarray, "2 13 2"]]:
    """The edges of the upper and of the lower lids, left and right eye, each from left to right."""
    bulge = 1 - np.abs(ALONG) ** 2.2
    tilt = person.slant * person.eye_long * OUTWARD
    level = person.landmarks[:2, None] + person.eye_long * _STRAIGHT
    upper = move_down(level, -person.eye_open * bulge - tilt)
    lower = move_down(level, 0.75 * person.eye_open * bulge - tilt)
    return upper, lower


def brows(person: Person) -> Float[np.ndarray, "2 13 2"]:
    """The middle lines of the brows, left and right, each from left to right."""
    height = -person.brow_height - person.brow_arch * (1 - (OUTWARD - 0.3) ** 2)
    return move_down(person.landmarks[:2, None] + 0.062 * _STRAIGHT, height)


def lips(person: Person) -> Float[np.ndarray, "4 13 2"]:
    """Upper and lower edge of the upper lip, then of the lower one, each from left to right."""
    left, right = person.landmarks[3:]
    bulge = 1 - ALONG**2
    bow = 1 - 0.35 * np.exp(-((ALONG / 0.16) ** 2))
    middle = move_down(left + (ALONG[:, None] + 1) / 2 * (right - left), person.smile * bulge)
    inner_top = move_down(middle, -0.4 * person.mouth_open * bulge)
    inner_low = move_down(middle, 0.8 * person.mouth_open * bulge)
    top = move_down(inner_top, -person.lip_height * bulge**0.7 * bow)
    low = move_down(inner_low, 1.25 * person.lip_height * bulge**0.7)
    return np.stack([top, inner_top, inner_low, low])


def procedural_landmarks(seed: int, identity: int) -> Float32[np.ndarray, "68 2"]:
    """Where the points of `images.landmarks` lie in `render_face`'s picture of one person.

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
