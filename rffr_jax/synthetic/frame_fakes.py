"""All manipulations of the frames of one split, with donors and textures of the same split."""

from collections.abc import Iterator, Sequence

import numpy as np

from rffr_jax.synthetic.landmark_manipulations import (
    LANDMARK_METHODS,
    ManipulatedFrame,
    manipulate_frame,
    pick_donor,
)
from rffr_jax.synthetic.landmarked_frame import LandmarkedFrame
from rffr_jax.synthetic.manipulations import METHODS
from rffr_jax.synthetic.texture_model import fit_texture_model
from rffr_jax.synthetic.window_manipulations import manipulate_window

FRAME_METHODS: tuple[str, ...] = (*LANDMARK_METHODS, *METHODS)
_DONOR, _FAKE = range(2)  # what a stream of random numbers is for


class FrameFakes:
    """The fakes of each frame of a split."""

    def __init__(self, frames: Sequence[LandmarkedFrame]):
        """
        Raises:
          UserError: the frames show too few people for a texture model.
        """
        self._frames = frames
        self._textures = fit_texture_model(frames)

    def make(self, index: int, key: tuple[int, ...]) -> Iterator[tuple[str, ManipulatedFrame]]:
        """Each of `FRAME_METHODS` applied to frame `index`, with a donor of its own.

        Args:
          key: non-negative integers that name the frame and the seed.
        """
        frame = self._frames[index]
        for number, method in enumerate(FRAME_METHODS):
            choice, rng = (
                np.random.default_rng(np.random.SeedSequence((*key, purpose, number)))
                for purpose in (_DONOR, _FAKE)
            )
            donor = pick_donor(frame, self._frames, choice)
            if method in LANDMARK_METHODS:
                yield method, manipulate_frame(method, frame, donor, self._textures, rng)
            else:
                yield method, manipulate_window(method, frame, donor, rng)
