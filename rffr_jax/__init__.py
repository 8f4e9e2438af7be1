"""RFFR: Real Face Foundation Representation Learning for deepfake detection, in JAX/Flax."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rffr_jax.predict.detector import LoadedDetector

__version__ = "0.1.0"


def load_detector(
    folder: str | os.PathLike[str],
    *,
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
      folder: the workdir of a finished `detect` job, or a model folder.
      checkpoint: `last` or `best:NAME`.
      dtype: what matrices are multiplied in, as in the configs.
      batch_size: images that are scored together, at most.

    Raises:
      rffr_jax.errors.UserError: there is no detector in the folder, or no such checkpoint.
    """
    from rffr_jax.predict import detector

    return detector.load_detector(folder, checkpoint=checkpoint, dtype=dtype, batch_size=batch_size)
