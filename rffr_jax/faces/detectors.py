"""The face detectors by their names, and the faces of one picture."""

import functools
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from rffr_jax.errors import UserError
from rffr_jax.faces.face import Face, FaceDetector
from rffr_jax.faces.retinaface import MAX_SIDE_AGAIN, RetinaFace
from rffr_jax.faces.yunet import YuNet
from rffr_jax.images.decode import read_full_image
from rffr_jax.images.pixels import rgb_pixels

DETECTORS = ("retinaface", "yunet")

# Shorter side in pixels of the shrunk picture: of FFHQ faces RetinaFace finds a fifth at 24, most
# at 30.
_SMALLEST = 24


def load_detector(name: str, weights: pathlib.Path | None) -> FaceDetector:
    """The detector, loaded once in each thread, for that thread only.

    Raises:
      UserError: its weights or what runs them are missing.
    """
    return _load_detector(name, weights, threading.get_ident())


@functools.cache
def _load_detector(name: str, weights: pathlib.Path | None, thread: int) -> FaceDetector:
    cv2.setNumThreads(1)  # the work is shared out by media
    if name == "retinaface":
        return RetinaFace(weights)
    if weights is None:
        raise UserError("--detector yunet needs --detector-weights FILE, its ONNX file")
    return YuNet(weights)


def frames_at_once(detector: FaceDetector) -> int:
    """How many pictures `detect_many` of a detector takes together; more than one on a GPU."""
    return getattr(detector, "frames_at_once", 1)


def detect_many(
    detector: FaceDetector, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]
) -> list[list[Face]]:
    """The faces of each picture, together where the detector can."""
    if isinstance(detector, RetinaFace):
        return detector.detect_many(images)
    return [detector.detect(image) for image in images]


def require_recorded_detector(
    recorded: Mapping[str, Any], weights: pathlib.Path | None, otherwise: str
) -> None:
    """Refuses another face detector than the one that found a detector's training faces.

    Args:
      recorded: the preparation of these faces.
      weights: the face detector's own file; None for those that come with RetinaFace's package.
      otherwise: what else the user can do.

    Raises:
      UserError: other weights, or weights that are missing.
    """
    name = recorded["detector"]
    if name == "yunet" and weights is None:
        raise UserError(
            "the detector's training faces were found by YuNet; name its ONNX file with "
            f"--config.face_weights=FILE, or {otherwise}"
        )
    digest = load_detector(name, weights).digest
    if digest != recorded["weights_sha256"]:
        raise UserError(
            f"the detector's training faces were found by {name} with other weights (SHA-256 "
            f"{recorded['weights_sha256'][:12]}..., not {digest[:12]}...); name that file with "
            f"--config.face_weights=FILE, or {otherwise}"
        )


def explain_no_face(height: int, width: int) -> str:
    """Why a picture in which no face was found may hold one: how large it would have to be."""
    smallest = round(_SMALLEST * max(1.0, max(height, width) / MAX_SIDE_AGAIN))
    return f"no face of {smallest} pixels or more"


def find_faces(image: object) -> list[Face]:
    """What `rffr_jax.find_faces` says; RetinaFace with its packaged weights finds them."""
    is_file = isinstance(image, str | os.PathLike)
    pixels = read_full_image(image) if is_file else rgb_pixels(image)
    return load_detector("retinaface", None).detect(pixels)
