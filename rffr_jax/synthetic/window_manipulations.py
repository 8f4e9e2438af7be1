"""The manipulations of aligned crops, in the pixels of a frame that need not be aligned."""

import cv2
import numpy as np

from rffr_jax.images.alignment import (
    AlignedFace,
    align,
    estimate_similarity,
    similarity_scale,
    template_landmarks,
    transform_points,
    warp,
)
from rffr_jax.images.landmarks import to_five_landmarks
from rffr_jax.synthetic.landmark_manipulations import ManipulatedFrame
from rffr_jax.synthetic.landmarked_frame import LandmarkedFrame
from rffr_jax.synthetic.manipulations import manipulate

_SIDES = (48, 512)  # of a crop that can be manipulated


def manipulate_window(
    method: str, frame: LandmarkedFrame, donor: LandmarkedFrame, rng: np.random.Generator
) -> ManipulatedFrame:
    """One of `manipulations.METHODS` applied to the square of a frame that its aligned crop shows.

    Pixels of the square are those of the frame, neither turned nor resized; the donor's face is
    brought to their scale.

    Raises:
      ValueError: unknown method.
    """
    points = to_five_landmarks(frame.landmarks)
    unit = estimate_similarity(template_landmarks(100), points)
    side = int(np.clip(round(100 * similarity_scale(unit)), *_SIDES))
    middle = transform_points(np.full((1, 2), 49.5, np.float32), unit)[0]
    left, top = np.rint(middle - (side - 1) / 2).astype(int).tolist()
    move = np.array([[1.0, 0, -left], [0, 1, -top]])
    pixels = frame.image.astype(np.float32) / 255
    window = warp(pixels, move, side, interpolation=cv2.INTER_NEAREST, antialias=False)
    face = AlignedFace(window, transform_points(points, move))
    other = align(donor.image.astype(np.float32) / 255, to_five_landmarks(donor.landmarks), side)
    made = manipulate(method, face, other, rng)

    height, width, _ = frame.image.shape
    rows, columns = (
        slice(max(0, top), min(height, top + side)),
        slice(max(0, left), min(width, left + side)),
    )
    inside = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    image, mask = frame.image.copy(), np.zeros((height, width), np.float32)
    mask[rows, columns] = made.mask[inside]
    manipulated = np.rint(made.image[inside].clip(0, 1) * 255).astype(np.uint8)
    image[rows, columns] = np.where(
        mask[rows, columns, None] > 0, manipulated, image[rows, columns]
    )
    return ManipulatedFrame(image, mask)
