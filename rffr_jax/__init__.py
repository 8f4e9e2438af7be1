"""RFFR: Real Face Foundation Representation Learning for deepfake detection, in JAX/Flax."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rffr_jax.faces.face import Face
    from rffr_jax.predict.detector import LoadedDetector

__version__ = "0.1.0"


def keep_freed_memory(step_bytes: int) -> str:
    """Lets this process keep memory that it frees, where trainings on a CPU are faster so.

    To be called before JAX computes anything (docs/speed.md).

    Args:
      step_bytes: temporary memory of a training step, roughly.

    Returns:
      What happens with freed memory and why.
    """
    from rffr_jax.cluster import freed_memory

    return freed_memory.keep_freed_memory(step_bytes)


def load_detector(
    folder: str | os.PathLike[str] = "",
    *,
    backbone: str | os.PathLike[str] = "",
    checkpoint: str = "last",
    dtype: str = "auto",
    batch_size: int = 32,
) -> "LoadedDetector":
    """A trained detector, to score photographs, videos and aligned face crops from Python.

        detector = rffr_jax.load_detector("runs/detect")
        verdict = detector.predict("photo.jpg")   # status, score, faces with their evidence
        scores = detector.score(crops)            # float64 [n], each in [0, 1]
        shown = detector.explain(crops[0])        # reconstruction, residual, heat by block

    Args:
      folder: the workdir of a finished `detect` job, or a model folder; "" takes the installed
        detector (`pretrained/`), else that of `make demo`.
      backbone: converted weights of its backbone, where it holds only what was trained of it; ""
        takes those that its training found (docs/backbones.md).
      checkpoint: `last` or `best:NAME`.
      dtype: what matrices are multiplied in, as in the configs.
      batch_size: images that are scored together, at most.

    Raises:
      rffr_jax.errors.UserError: there is no detector in the folder, or no such checkpoint.
    """
    from rffr_jax.predict import detector

    return detector.load_detector(
        folder, backbone=backbone, checkpoint=checkpoint, dtype=dtype, batch_size=batch_size
    )


def find_faces(image: object) -> "list[Face]":
    """The faces of one picture, found as in the preparation of data.

        for face in rffr_jax.find_faces("photograph.jpg"):
            face.box, face.landmarks, face.score    # float32 [4], float32 [5, 2], float

    Args:
      image: a uint8 RGB array [height, width, 3], an image of Pillow, or the path of an image file.
        Images of Pillow and files are turned as their EXIF orientation says.

    Returns:
      The faces, the best score first; none is an empty list. A box is left, top, right, bottom; the
      points are left eye, right eye, nose tip and the corners of the mouth, in pixels of the
      upright picture with (0, 0) the centre of its first pixel.

    Raises:
      rffr_jax.errors.UserError: it is no picture of these kinds or size, or the extra `faces` is
        not installed.
      rffr_jax.errors.BadImageError: the file cannot be used.
    """
    from rffr_jax.faces import detectors

    return detectors.find_faces(image)
