"""SBI (Shiohara & Yamasaki, CVPR 2022): EfficientNet-B4 from ImageNet on self-blended pairs.

Its training is sharpness-aware (SAM; Foret et al., ICLR 2021) on SGD, at 380 px.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array

from rffr_jax.models.efficientnet import EfficientNet
from rffr_jax.models.sizes import EfficientNetSettings as Settings
from rffr_jax.rivals import Rival, cross_entropy, dropout

__all__ = ["CONFIG", "Detector", "Settings"]

CONFIG = {
    "model": {"image_size": 380},
    "detector": {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    "data": {"fakes": "self_blended"},
    "optimizer": {
        "name": "sgd",
        "learning_rate": 1e-3,
        "b1": 0.9,
        "sam_rho": 0.05,
        "schedule": "last_quarter",
    },
}
DROPOUT = 0.4
HEAD = 2**20  # no block has this number


class Detector(Rival):
    """The network, the mean over its last feature map, dropout in training, one linear layer."""

    starts_from = "efficientnet"

    def __init__(self, settings: Settings, image_size: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.backbone = EfficientNet(settings, dtype=dtype, rngs=rngs)
        small = nnx.initializers.normal(0.02)
        self.head = nnx.Linear(self.backbone.features, 2, kernel_init=small, rngs=rngs)

    def logits(self, images: Array) -> Array:
        """By the running statistics, with nothing dropped."""
        return self.head(_mean(self.backbone(images, training=False)))

    def losses(self, images: Array, labels: Array, weight: Array, seeds: Array) -> dict[str, Array]:
        """Cross-entropy, by the batch's statistics; blocks and features are dropped at random."""
        keys = jax.vmap(jax.random.key)(seeds)
        features = _mean(self.backbone(images, training=True, weight=weight, keys=keys))
        dropped = dropout(features, keys, HEAD, DROPOUT)
        return {"loss": cross_entropy(self.head(dropped), labels)}


def _mean(features: Array) -> Array:
    return jnp.mean(features.astype(jnp.float32), axis=(1, 2))
