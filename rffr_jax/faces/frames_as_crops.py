"""A sign that whole frames were given where crops of faces are meant: how much a face fills.

The largest face of a few images is measured. Where the face detector is missing or finds few faces,
their shape has to tell: a square picture with a small face is not noticed then.
"""

import collections
import functools
import logging
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Example
from rffr_jax.faces.face import FaceDetector
from rffr_jax.faces.retinaface import MAX_SIDE, RetinaFace
from rffr_jax.images.decode import read_full_image
from rffr_jax.images.file_header import read_image_header

log = logging.getLogger(__name__)

LOOKED_AT = 32  # images of a data set, evenly spaced; only their headers are read
MEASURED = 12  # of them, evenly spaced; their faces are looked for
SMALLEST_SIDE = 96  # of an image in which a face is looked for, in pixels
LEAST_SHARE = 0.4  # of the side; crops of 1.0 to 2 times a face's box have 0.5 to 1
WIDEST, TALLEST = 1.3, 1.6  # width over height and height over width of a crop of a face
_HINT = "if they are no crops of faces, make crops with scripts/prepare_faces.py"


def describe_frames_as_crops(examples: Sequence[Example]) -> list[str]:
    """One line for each data set of which most images look like whole frames."""
    by_dataset = collections.defaultdict(list)
    for example in examples:
        by_dataset[example.dataset].append(example.path)
    found = {name: _describe(paths) for name, paths in sorted(by_dataset.items())}
    return [f"dataset '{name}': {line}; {_HINT}" for name, line in found.items() if line]


def _describe(paths: Sequence[str]) -> str:
    headers = {path: read_image_header(path) for path in _evenly(paths, LOOKED_AT)}
    sizes = {path: header.size for path, header in headers.items() if header}
    large = [path for path, size in sizes.items() if min(size) >= SMALLEST_SIDE]
    shares = _measure(_evenly(large, MEASURED)) if large else []
    if shares is None:
        log.info(
            "whether images are whole frames is judged by their shape only: the face detector is "
            "missing (pip install 'rffr-jax[faces]')"
        )
    if not shares or 2 * len(shares) < min(len(large), MEASURED):
        return _describe_shapes(list(sizes.values()))
    small = [share for share in shares if share < LEAST_SHARE]
    if 2 * len(small) <= len(shares):
        return ""
    return (
        f"the largest face fills less than {LEAST_SHARE:.0%} of the side of the middle square, "
        f"which is what is used, in {len(small)} of {len(shares)} images in which a face was found "
        f"(median {np.median(shares):.0%})"
    )


def _evenly(paths: Sequence[str], most: int) -> Sequence[str]:
    return paths[:: -(-len(paths) // most)]


def _measure(paths: Sequence[str]) -> list[float] | None:
    """Of each image with a face its share of the middle square's side; None without a detector."""
    try:
        detector = _load_detector()
    except UserError:
        return None
    shares = []
    for path in paths:
        try:
            share = face_share(read_full_image(path), detector)
        except BadImageError:  # who reads it for the job names it
            continue
        if share is not None:
            shares.append(share)
    return shares


@functools.cache
def _load_detector() -> FaceDetector:
    return RetinaFace(max_sides=(MAX_SIDE,))


def face_share(image: UInt8[np.ndarray, "height width 3"], detector: FaceDetector) -> float | None:
    """How much of the side of the middle square the largest face fills; None without a face.

    It is the side of a square of the area that the face's box has within the middle square.
    """
    height, width, _ = image.shape
    side = min(height, width)
    start = np.array([(width - side) / 2, (height - side) / 2])
    shares = []
    for face in detector.detect(image):
        low, high = (np.clip(face.box[i : i + 2] - start, 0, side) for i in (0, 2))
        shares.append(math.sqrt(float(np.prod(high - low))) / side)
    return max(shares, default=None)


def _describe_shapes(sizes: Sequence[tuple[int, int]]) -> str:
    frames = [(w, h) for w, h in sizes if w > WIDEST * h or h > TALLEST * w]
    if 2 * len(frames) <= len(sizes):
        return ""
    width, height = frames[0]
    return (
        f"{len(frames)} of {len(sizes)} images looked at are wide or tall as whole frames are "
        f"(such as {width} x {height}), and only their middle square is used; judged by their "
        "shape only"
    )
