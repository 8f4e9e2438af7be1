"""A cache of residuals, by the weights of their MAE or ridge regression and by their image.

The cache holds B_hat - B before its amplification, of the area that blocks cover, in float16. A
residual from it differs from one in float32 by at most 2^-11 (0.0005) of its own value, for any
alpha. New values are rounded in the same way, so results do not depend on the cache.
"""

import dataclasses
from pathlib import Path

import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from rffr_jax.method.array_cache import ArrayCache, MemoryBudget
from rffr_jax.method.detection import Detection

MEMORY_GB = 4.0


class ResidualCache(ArrayCache):
    """Unamplified differences B_hat - B of images (`Detection.differences`).

    Args:
      mae_parameters: of the frozen model that fills the blocks.
      folder: as for an `ArrayCache`.
      memory_gb: the memory of this process for what is kept.
    """

    def __init__(
        self,
        detection: Detection,
        mae_parameters: PyTree,
        mesh: Mesh,
        *,
        folder: Path | None = None,
        memory_gb: float = MEMORY_GB,
    ):
        settings = detection.settings
        super().__init__(
            "residuals",
            detection.differences,
            mae_parameters,
            mesh,
            shape=detection.differences_shape,
            dtype=np.float16,
            about={
                "mae": dataclasses.asdict(settings.mae) if settings.mae else settings.residual,
                "k": settings.k,
                "blocks_per_pass": settings.blocks_per_pass,
                "compute": np.dtype(detection.dtype).name,
            },
            folder=folder,
            memory=MemoryBudget(memory_gb),
        )
