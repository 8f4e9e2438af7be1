"""YuNet (Wu et al., 2023) through OpenCV, which needs no other package than its ONNX file.

The file `face_detection_yunet_2023mar.onnx` is in OpenCV's model zoo.
"""

import hashlib
import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.errors import UserError
from rffr_jax.faces.face import Face
from rffr_jax.faces.onnx_models import read_weights
from rffr_jax.faces.retinaface import (
    MAX_SIDE,
    MAX_SIDE_AGAIN,
    MIN_SCORE,
    edge_to_centre_coordinates,
    shrink_image,
)

_MAX_OVERLAP = 0.3  # intersection over union of two faces


class YuNet:
    """A `FaceDetector`."""

    def __init__(
        self,
        weights: pathlib.Path,
        *,
        max_sides: Sequence[int] = (MAX_SIDE, 256, MAX_SIDE_AGAIN),
    ):
        """Loads the network.

        Args:
          weights: its ONNX file.
          max_sides: larger pictures are shrunk to the first, in pixels, and where no face is found
            to the next: at 640 faces that fill the picture are missed, and small ones.

        Raises:
          UserError: the file is missing or OpenCV cannot read it as a YuNet.
        """
        data = read_weights(weights)
        self.digest = hashlib.sha256(data).hexdigest()
        self._max_sides = max_sides
        try:
            self._network = cv2.FaceDetectorYN.create(
                "onnx",
                np.frombuffer(data, np.uint8),
                np.empty(0, np.uint8),
                (64, 64),
                MIN_SCORE,
                _MAX_OVERLAP,
            )
            self._network.detect(np.zeros((64, 64, 3), np.uint8))
        except cv2.error:
            raise UserError(
                f"detector weights {weights}: OpenCV cannot read it as a YuNet; "
                "take face_detection_yunet_2023mar.onnx of OpenCV's model zoo"
            ) from None

    def detect(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Face]:
        """Faces of an RGB picture, the best score first; none is an empty list."""
        for side in dict.fromkeys(min(max_side, max(image.shape)) for max_side in self._max_sides):
            if faces := self._detect(*shrink_image(image, side)):
                return faces
        return []

    def _detect(
        self, image: UInt8[np.ndarray, "height width 3"], scale: Float32[np.ndarray, "2"]
    ) -> list[Face]:
        self._network.setInputSize((image.shape[1], image.shape[0]))
        _, rows = self._network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        faces = []
        for row in [] if rows is None else rows:
            left, top, width, height = row[:4]
            corners = np.array([[left, top], [left + width, top + height]], np.float32)
            faces.append(
                Face(
                    box=edge_to_centre_coordinates(corners, scale).reshape(4),
                    landmarks=edge_to_centre_coordinates(row[4:14].reshape(5, 2), scale),
                    score=float(row[14]),
                )
            )
        return sorted(faces, key=lambda face: -face.score)
