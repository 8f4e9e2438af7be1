"""One score of a face from its scores in several frames."""

import dataclasses
import statistics

import numpy as np
from jaxtyping import Float64

from rffr_jax.errors import UserError

AGGREGATES = ("mean", "median", "top_k")


@dataclasses.dataclass(frozen=True)
class VideoScore:
    """How the score of a face in a video comes about.

    Attributes:
      aggregate: `mean`, `median` or `top_k`, as in `aggregate_scores`.
      top_k: 0 where it is not used.
      frames: that are looked at, evenly spaced.
    """

    aggregate: str
    top_k: int
    frames: int

    @classmethod
    def of(cls, aggregate: str, top_k: int, frames: int) -> "VideoScore":
        """Those settings.

        Raises:
          UserError: as for `check_aggregate`.
        """
        check_aggregate(aggregate, top_k)
        return cls(aggregate, top_k if aggregate == "top_k" else 0, frames)

    def score(self, scores: Float64[np.ndarray, " frames"]) -> float:
        """Of a face, from those of its frames that could be judged, at least one."""
        return aggregate_scores(scores, self.aggregate, self.top_k or 1)

    def fits(self, frames: int) -> bool:
        """Whether a threshold of this score is one of faces that were judged in so many frames."""
        return frames >= self.frames / 2

    def __str__(self) -> str:
        if self.top_k:
            return f"mean of the {self.top_k} highest of {self.frames} frames"
        return f"{self.aggregate} of {self.frames} frames"


def check_aggregate(how: str, top_k: int):
    """Raises: UserError if there is no such way, or `top_k` is below 1."""
    if how not in AGGREGATES:
        raise UserError(f"aggregate={how!r} is not known; choose {', '.join(AGGREGATES)}")
    if top_k < 1:
        raise UserError(f"top_k={top_k}; it must be 1 or more")


def aggregate_scores(scores: Float64[np.ndarray, " frames"], how: str, top_k: int) -> float:
    """The score of a face.

    Args:
      scores: at least one, in [0, 1].
      how: `mean`, `median`, or `top_k`: the mean of the `top_k` highest, of all if there are fewer.

    Raises:
      UserError: as for `check_aggregate`.
    """
    check_aggregate(how, top_k)
    if how == "median":
        return float(np.median(scores))
    if how == "top_k":
        return statistics.mean(np.sort(scores)[-top_k:].tolist())
    return statistics.mean(scores.tolist())
