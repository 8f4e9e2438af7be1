"""The 68 landmarks of a face that was detected: by an ONNX network of the user, or by dlib.

What an ONNX network expects is told by its shapes; RGB in [0, 1] goes in, black where the square
reaches beyond the picture:

- Input [1, 3, 256, 256], output [1, 68, 64, 64]: heatmaps of the face alignment network (Bulat and
  Tzimiropoulos, ICCV 2017). The square is 200 / 195 of the sum of the box's sides, its centre 0.12
  of the box's height above that of the box. A point is the highest cell, moved by a quarter of a
  cell to the higher neighbour in each direction. Of several such outputs the last one counts.
- Input [1, 3, 112, 112], output [1, 136] or [1, 68, 2]: fractions of the square (x and y in turn),
  as PFLD's (Guo et al., 2019) 68-point exports. The square is 1.1 of the box's longer side.

The points are those of 300-W, as `images.landmarks` has them.
"""

import functools
import hashlib
import importlib.util
import pathlib
import threading
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from rffr_jax.errors import UserError
from rffr_jax.faces.crop import square_to_crop
from rffr_jax.faces.face import Face
from rffr_jax.faces.onnx_models import open_session, probing, read_weights
from rffr_jax.images.alignment import (
    estimate_similarity,
    similarity_scale,
    template_landmarks,
    transform_points,
    warp,
)
from rffr_jax.images.landmarks import ALL

HEATMAP_INPUT, HEATMAP_SIDE = 256, 64
FAN_SIDE_OVER_BOX, FAN_UP = 200 / 195, 0.12
REGRESSION_INPUT = 112
PFLD_SIDE_OVER_BOX = 1.1
# The boxes of dlib's detector, for which its model was trained, in FFHQ's alignment, as fractions
# of that crop: mean side 0.568 (standard deviation 0.06), centre (0.497, 0.584) of 193 frames.
DLIB_SIDE, DLIB_CENTRE = 0.57, (0.50, 0.584)
_DLIB_FILE = "models/shape_predictor_68_face_landmarks.dat"


class OnnxLandmarks:
    """A network of an ONNX file; `digest` is the file's SHA-256."""

    def __init__(self, weights: pathlib.Path):
        """Loads the network.

        Args:
          weights: an ONNX file of one of the two layouts above.

        Raises:
          UserError: onnxruntime is not installed, or the file is missing or of another layout.
        """
        data = read_weights(weights, "--landmarks-weights")
        self.digest = hashlib.sha256(data).hexdigest()
        with probing(f"--landmarks-weights {weights}", "a fixed size"):
            self._session = open_session(data)
            (self._input,) = self._session.get_inputs()
            _, _, height, width = self._input.shape
            probe = np.zeros((1, 3, height, width), np.float32)
            shapes = [output.shape for output in self._run(probe)]
        heatmaps = [i for i, shape in enumerate(shapes) if shape == (1, ALL, *2 * [HEATMAP_SIDE])]
        points = [i for i, s in enumerate(shapes) if s in ((1, 2 * ALL), (1, ALL, 2))]
        self._heatmaps = height == width == HEATMAP_INPUT and bool(heatmaps)
        if not self._heatmaps and not (height == width == REGRESSION_INPUT and points):
            raise UserError(
                f"--landmarks-weights {weights}: input {height} x {width}, outputs "
                f"{', '.join(map(_text, shapes))}; it must take 256 x 256 and give 1 x 68 x 64 x "
                "64 (heatmaps), or take 112 x 112 and give 1 x 136 (points)"
            )
        self._size = height
        self._output = (heatmaps if self._heatmaps else points)[-1]

    def find(
        self, image: UInt8[np.ndarray, "height width 3"], face: Face
    ) -> Float32[np.ndarray, "68 2"]:
        """x and y in pixels of the RGB picture in which `face` was detected."""
        square = _fan_square(face) if self._heatmaps else _pfld_square(face)
        pixels = warp(
            image,
            square_to_crop(*square, self._size),
            self._size,
            interpolation=cv2.INTER_LINEAR,
            border=cv2.BORDER_CONSTANT,
        )
        batch = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
        found = self._run(batch)[self._output][0]
        if self._heatmaps:
            points, side = heatmap_points(found), HEATMAP_SIDE
        else:
            points, side = found.reshape(ALL, 2) - 0.5, 1
        return transform_points(points, cv2.invertAffineTransform(square_to_crop(*square, side)))

    def _run(self, batch: Float32[np.ndarray, "1 3 size size"]) -> list[np.ndarray]:
        return self._session.run(None, {self._input.name: batch})


class DlibLandmarks:
    """dlib's regression trees (Kazemi and Sullivan, CVPR 2014); `digest` is their file's SHA-256.

    They were trained on iBUG 300-W, whose terms exclude commercial use.
    """

    def __init__(self):
        """Loads the file that the package face-recognition-models carries.

        Raises:
          UserError: dlib or the file is not installed.
        """
        try:
            import dlib  # pyright: ignore[reportMissingImports] - of the extra
        except ImportError:
            raise UserError(
                "68 landmarks need dlib; pip install 'rffr-jax[landmarks]', or name an ONNX file "
                "with --landmarks-weights"
            ) from None
        file = dlib_model_file()
        self.digest = hashlib.sha256(file.read_bytes()).hexdigest()
        self._rectangle: Any = dlib.rectangle
        self._predict: Any = dlib.shape_predictor(str(file))

    def find(
        self, image: UInt8[np.ndarray, "height width 3"], face: Face
    ) -> Float32[np.ndarray, "68 2"]:
        """x and y in pixels of the RGB picture in which `face` was detected."""
        x, y, side = _dlib_square(face)
        edges = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
        shape = self._predict(np.ascontiguousarray(image), self._rectangle(*map(round, edges)))
        return np.array([[point.x, point.y] for point in shape.parts()], np.float32)


LandmarkModel = OnnxLandmarks | DlibLandmarks


def load_landmark_model(weights: pathlib.Path | None) -> LandmarkModel:
    """The model, loaded once in each thread, for that thread only.

    Args:
      weights: an ONNX file; None takes dlib's model, which the extra `landmarks` brings.

    Raises:
      UserError: its weights or what runs them are missing, or are none that is known.
    """
    return _load(weights, threading.get_ident())


@functools.cache
def _load(weights: pathlib.Path | None, thread: int) -> LandmarkModel:
    return DlibLandmarks() if weights is None else OnnxLandmarks(weights)


def heatmap_points(
    heatmaps: Float32[np.ndarray, "points side side"],
) -> Float32[np.ndarray, "points 2"]:
    """x and y of the highest cells, in cells from the centre of the first one.

    Each is moved by a quarter of a cell to the higher of its two neighbours, but not at a border.
    """
    count, side, _ = heatmaps.shape
    y, x = np.divmod(heatmaps.reshape(count, -1).argmax(1), side)
    points = np.stack([x, y], 1).astype(np.float32)
    inside = (x > 0) & (x < side - 1) & (y > 0) & (y < side - 1)
    rows, x, y = np.flatnonzero(inside), x[inside], y[inside]
    across = heatmaps[rows, y, x + 1] - heatmaps[rows, y, x - 1]
    down = heatmaps[rows, y + 1, x] - heatmaps[rows, y - 1, x]
    points[rows] += np.sign(np.stack([across, down], 1)) / 4
    return points


def dlib_model_file() -> pathlib.Path:
    """The file that the package face-recognition-models carries.

    The package is not imported: what it imports is gone from today's setuptools.

    Raises:
      UserError: it is not installed.
    """
    package = importlib.util.find_spec("face_recognition_models")
    for folder in package.submodule_search_locations or () if package else ():
        if (file := pathlib.Path(folder) / _DLIB_FILE).is_file():
            return file
    raise UserError(
        "dlib's model of 68 landmarks is not installed; pip install 'rffr-jax[landmarks]', or name "
        "an ONNX file with --landmarks-weights"
    )


def _fan_square(face: Face) -> tuple[float, float, float]:
    """Centre x, y and side, in pixels of the picture."""
    x, y, width, height = _centre_and_sides(face)
    return x, y - FAN_UP * height, FAN_SIDE_OVER_BOX * (width + height)


def _pfld_square(face: Face) -> tuple[float, float, float]:
    x, y, width, height = _centre_and_sides(face)
    return x, y, PFLD_SIDE_OVER_BOX * max(width, height)


def _dlib_square(face: Face) -> tuple[float, float, float]:
    from_template: Float64[np.ndarray, "2 3"] = estimate_similarity(
        template_landmarks(1), face.landmarks
    )
    centre = np.array([DLIB_CENTRE], np.float32) - 0.5
    (x, y) = transform_points(centre, from_template)[0].tolist()
    return x, y, DLIB_SIDE * similarity_scale(from_template)


def _centre_and_sides(face: Face) -> tuple[float, float, float, float]:
    left, top, right, bottom = face.box.tolist()
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
