"""How large the residuals of real faces are, block by block: what the heat of `predict` is held to.

It is measured when `evaluate` scores validation data, and kept beside the detector.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from rffr_jax.cluster import processes
from rffr_jax.errors import UserError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import REAL
from rffr_jax.runs.weight_records import read_record, record_file, write_record

log = logging.getLogger(__name__)

RECORD = "residual_reference"
QUANTILE = 0.95
MIN_FACES = 20
"""Fewer say nothing of a 95th percentile."""


@dataclasses.dataclass(frozen=True, eq=False)
class ResidualReference:
    """Heat (mean |residual| of a block) of real faces.

    Attributes:
      mean: of each block, over the faces.
      high: the `QUANTILE` of each block, above 0: one face in twenty has more there.
      faces: how many.
      exceed: share of the faces that have more than `high` in at least one block.
      data: specs of the validation data.
    """

    mean: Float64[np.ndarray, "k k"]
    high: Float64[np.ndarray, "k k"]
    faces: int
    exceed: float
    data: tuple[str, ...]

    def relative(self, heat: Float32[np.ndarray, "*n k k"]) -> Float32[np.ndarray, "*n k k"]:
        """Heat over `high` of its block: above 1 is more than 95 % of real faces have there."""
        return (heat / self.high).astype(np.float32)

    def origin(self) -> dict[str, Any]:
        """What predictions.json says of it."""
        return {
            "quantile": QUANTILE,
            "faces": self.faces,
            "exceed": self.exceed,
            "data": list(self.data),
        }

    def to_record(self, weights: str) -> dict[str, Any]:
        """What is kept beside the detector, for the weights with this digest only."""
        arrays = {"mean": self.mean.tolist(), "high": self.high.tolist()}
        return {"weights": weights, "quantile": QUANTILE, **dataclasses.asdict(self), **arrays}


def measure_reference(
    predictions: Predictions, heat: Float32[np.ndarray, "n k k"], specs: Sequence[str]
) -> ResidualReference | None:
    """The reference of the real faces among scored examples.

    Args:
      predictions: of validation data.
      heat: of the same examples, as `Scorer.score_with_heat` gives it.
      specs: what the data are called.

    Returns:
      None for fewer than `MIN_FACES` real faces, and where a block has no residual.
    """
    real = heat[predictions.labels == REAL].astype(np.float64)
    if len(real) < MIN_FACES:
        log.warning(
            "data.validation has %d real faces; from %d on the pictures of predict compare a face "
            "with them",
            len(real),
            MIN_FACES,
        )
        return None
    high = np.quantile(real, QUANTILE, axis=0)
    if not (high > 0).all():
        return None
    exceed = float((real > high).any(axis=(1, 2)).mean())
    return ResidualReference(real.mean(axis=0), high, len(real), exceed, tuple(specs))


def write_reference(detector: Path, checkpoint: str, reference: ResidualReference, weights: str):
    """Writes it beside the detector, for the weights with this digest only."""
    if not processes.is_main_process():
        return
    try:
        write_record(detector, RECORD, checkpoint, reference.to_record(weights))
    except OSError as error:
        file = record_file(detector, RECORD, checkpoint)
        log.warning("%s cannot be written (%s): predict will not know it", file, error)


def read_reference(
    detector: Path, checkpoint: str, weights: str, k: int
) -> ResidualReference | None:
    """Reads the file of `write_reference`; None if there is none, or of other weights.

    Raises:
      UserError: the file is damaged.
    """
    record = read_record(detector, RECORD, checkpoint)
    if record is None:
        return None
    file = record_file(detector, RECORD, checkpoint)
    try:
        if record["weights"] != weights:
            return None
        mean, high = (np.array(record[name], np.float64) for name in ("mean", "high"))
        data = tuple(map(str, record["data"]))
        reference = ResidualReference(mean, high, int(record["faces"]), record["exceed"], data)
        if mean.shape != (k, k) or high.shape != (k, k) or not np.isfinite(mean).all():
            raise ValueError("not k x k numbers")
        if not (np.isfinite(high) & (high > 0)).all() or not 0 <= reference.exceed <= 1:
            raise ValueError("a number is not possible")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{file} is damaged ({reason}); delete it, or make it anew with the job evaluate and "
            "--config.data.validation"
        ) from None
    return reference
