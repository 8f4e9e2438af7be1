"""Where an image is manipulated, for data that know it."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from rffr_jax.examples import Dataset


@runtime_checkable
class KnowsMasks(Protocol):
    """A dataset that may know where its examples are manipulated."""

    def mask(self, index: int, size: int) -> Float32[np.ndarray, "size size"] | None: ...


def manipulation_mask(
    dataset: Dataset, index: int, size: int
) -> Float32[np.ndarray, "size size"] | None:
    """Where example `index` is manipulated, 0 to 1; None where the data do not say."""
    return dataset.mask(index, size) if isinstance(dataset, KnowsMasks) else None
