"""The residuals of real validation faces, block by block: the reference for the heat of `predict`.

`evaluate` measures it on validation data and writes it beside the detector.
"""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import REAL

log = logging.getLogger(__name__)

RECORD = "residual_reference"
QUANTILE = 0.95
MIN_FACES = 20  # a 95th percentile needs as many


@dataclasses.dataclass(frozen=True, eq=False)
class ResidualReference:
    """Heat (mean |residual| of a block) of real faces.

    Attributes:
      mean: of each block, over the faces.
      high: the `QUANTILE` of each block, above 0: one face in twenty has more there.
      faces: their number.
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
        """Its entry in predictions.json."""
        return {
            "quantile": QUANTILE,
            "faces": self.faces,
            "exceed": self.exceed,
            "data": list(self.data),
        }

    def to_json(self) -> dict[str, Any]:
        """All of it, as the file beside the detector has it."""
        return {"mean": self.mean.tolist(), "high": self.high.tolist(), **self.origin()}

    @classmethod
    def from_json(cls, record: dict[str, Any], k: int) -> "ResidualReference":
        """The reference in `to_json`, for k x k blocks.

        Raises:
          KeyError, TypeError, ValueError, OverflowError: another record.
        """
        mean, high = (np.array(record[name], np.float64) for name in ("mean", "high"))
        data = tuple(map(str, record["data"]))
        reference = cls(mean, high, int(record["faces"]), record["exceed"], data)
        if mean.shape != (k, k) or high.shape != (k, k) or not np.isfinite(mean).all():
            raise ValueError("not k x k numbers")
        if not (np.isfinite(high) & (high > 0)).all() or not 0 <= reference.exceed <= 1:
            raise ValueError("a number is not possible")
        return reference


def measure_reference(
    predictions: Predictions, heat: Float32[np.ndarray, "n k k"], specs: Sequence[str]
) -> ResidualReference | None:
    """The reference of the real faces among scored examples.

    Args:
      predictions: of validation data.
      heat: of the same examples, from `Scorer.score_with_heat`.
      specs: of the validation data.

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
