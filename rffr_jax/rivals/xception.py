"""Xception (Chollet, CVPR 2017) as the field trains it: from ImageNet, 299 px, Adam at 2e-4
(Rössler et al., ICCV 2019, and after)."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array

from rffr_jax.models.sizes import XceptionSettings as Settings
from rffr_jax.models.xception import Xception
from rffr_jax.rivals import Rival, cross_entropy

__all__ = ["CONFIG", "Detector", "Settings"]

CONFIG = {
    "model": {"image_size": 299},
    "detector": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "optimizer": {"learning_rate": 2e-4},
}


class Detector(Rival):
    """The network, the mean over its last feature map, and one linear layer."""

    starts_from = "xception"

    def __init__(self, settings: Settings, image_size: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.backbone = Xception(settings, image_size, dtype=dtype, rngs=rngs)
        small = nnx.initializers.normal(0.02)
        self.head = nnx.Linear(self.backbone.features, 2, kernel_init=small, rngs=rngs)

    def logits(self, images: Array) -> Array:
        """By the running statistics."""
        return self._logits(images, training=False)

    def losses(self, images: Array, labels: Array, weight: Array, seeds: Array) -> dict[str, Array]:
        """Cross-entropy, by the batch's statistics."""
        logits = self._logits(images, training=True, weight=weight)
        return {"loss": cross_entropy(logits, labels)}

    def _logits(self, images: Array, *, training: bool, weight: Array | None = None) -> Array:
        features = self.backbone(images, training=training, weight=weight)
        return self.head(jnp.mean(features.astype(jnp.float32), axis=(1, 2)))
