"""What a face detector finds.

Coordinates are OpenCV's: x to the right, y down, in pixels, (0, 0) the CENTRE of the first pixel.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8


@dataclasses.dataclass(frozen=True)
class Face:
    """One face in a picture.

    Attributes:
      box: left, top, right, bottom in pixels; may reach beyond the picture.
      landmarks: x, y in pixels of left eye, right eye, nose tip, left and right mouth corner (left
        and right of the picture).
      score: of the detector, in [0, 1].
    """

    box: Float32[np.ndarray, "4"]
    landmarks: Float32[np.ndarray, "5 2"]
    score: float

    @property
    def shorter_side(self) -> float:
        """Of the box, in pixels."""
        left, top, right, bottom = self.box
        return float(min(right - left, bottom - top))


@runtime_checkable
class FaceDetector(Protocol):
    """Finds the faces of a picture."""

    digest: str
    """SHA-256 of its weights."""

    def detect(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Face]:
        """Faces of an RGB picture, the best score first; none is an empty list."""
        ...
