"""A cache of the features that a frozen backbone computes from whole images.

It holds them in float32, as the linear layer reads them, so nothing is rounded.
"""

import dataclasses
from pathlib import Path

import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree, UInt8

from rffr_jax.method.array_cache import ArrayCache, MemoryBudget
from rffr_jax.method.detection import Detection
from rffr_jax.models.abstract import abstract
from rffr_jax.models.backbone import Backbone


class FeatureCache(ArrayCache):
    """Features of images, from a backbone of which nothing is trained.

    Args:
      backbone: all parameters of the `Backbone` that `detection` has as branch `original`.
      folder, memory: as for an `ArrayCache`.
    """

    def __init__(
        self,
        detection: Detection,
        backbone: PyTree,
        mesh: Mesh,
        *,
        folder: Path | None,
        memory: MemoryBudget,
    ):
        settings, dtype = detection.settings, detection.dtype
        shapes = settings.pretrained
        assert shapes is not None
        definition, _ = abstract(lambda rngs: Backbone(shapes, dtype=dtype, rngs=rngs))

        def features(
            parameters: PyTree, images: UInt8[Array, "batch size size 3"]
        ) -> Float[Array, "batch width"]:
            model = nnx.merge(definition, nnx.State(parameters))
            return model(detection.backbone_images(images))

        super().__init__(
            "features",
            features,
            backbone,
            mesh,
            shape=(shapes.width,),
            dtype=np.float32,
            about={
                "backbone": dataclasses.asdict(shapes),
                "image_size": settings.model.image_size,
                "mean": settings.mean,
                "std": settings.std,
                "compute": np.dtype(dtype).name,
            },
            folder=folder,
            memory=memory,
        )
