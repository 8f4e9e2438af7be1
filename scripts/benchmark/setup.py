"""What every contestant of a row works on: shapes, batch, compute type, and the same images."""

import dataclasses
import pathlib

import numpy as np
from jaxtyping import UInt8

WARM_UP_STEPS = 2
"""Training steps before the clock starts; their losses are compared."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """One row's work, the same for both sides; pickled into every contestant's process.

    Attributes:
      size: a name of `rffr_jax.models.sizes.SIZES`.
      image_size, patch_size: in pixels.
      k: k x k blocks.
      dtype: `float32` (full precision, on a GPU too), `tf32` (the same numbers, multiplied in
        TensorFloat-32) or `bfloat16`.
      batch: images a call.
      matrix: side of the square matrices whose product is the machine's measured rate.
      huggingface: the names that the installed transformers gives to a MAE's arrays.
      configs: folder with the configs of the jobs.
      folder: where contestants leave what others read.
    """

    size: str
    image_size: int
    patch_size: int
    k: int
    dtype: str
    batch: int
    matrix: int
    huggingface: str
    configs: pathlib.Path
    folder: pathlib.Path

    def images(self) -> UInt8[np.ndarray, "batch size size 3"]:
        """Noise: no contestant's time depends on what the pixels show."""
        shape = (self.batch, self.image_size, self.image_size, 3)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def labels(self) -> np.ndarray:
        """Half real, half fake, in turn."""
        return (np.arange(self.batch) % 2).astype(np.int32)
