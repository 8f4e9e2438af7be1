"""RECCE (Cao et al., CVPR 2022): Xception from ImageNet that learns to reconstruct real faces only,
and looks where its reconstruction differs from the image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from rffr_jax.errors import UserError
from rffr_jax.models.feature_maps import rows_that_count
from rffr_jax.models.recce import Decoder, GraphReasoning, GuidedAttention, resized
from rffr_jax.models.sizes import XceptionSettings
from rffr_jax.models.xception import Xception
from rffr_jax.rivals import Rival, cross_entropy, dropout

CONFIG = {
    "model": {"image_size": 299},
    "detector": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "data": {"augmentation": {"flip": True}},
    "optimizer": {
        "name": "adam",
        "learning_rate": 2e-4,
        "weight_decay": 1e-5,
        "halve_every": 22_500,
    },
}
DROPOUT = 0.2
NOISE = 1e-6  # standard deviation; of each image with probability 1/2, of pixels in [-1, 1]
FLOOD = 0.04
RECONSTRUCTION, SIMILARITY = 0.1, 0.1  # weights of losses


class Settings(XceptionSettings):
    """As of Xception.

    Raises:
      UserError: no block in the middle flow, which the decoder begins behind.
    """

    def __post_init__(self):
        super().__post_init__()
        if self.middle_blocks < 1:
            raise UserError(
                "rival.middle_blocks=0: RECCE's decoder begins behind the first of them; give 1 "
                "or more"
            )


class Outputs(NamedTuple):
    """What the network says of images.

    Attributes:
      maps: feature maps whose means over the image are to be alike for reals: behind the first
        block of the encoder's middle flow, and two of the decoder.
      reconstruction: normalised pixels in [-1, 1], float32.
      reasoned: the encoder's map with what the graph adds.
      attended: a later one, with what attention adds.
      fake: the logit of fake against real, float32.
    """

    maps: tuple[Float[Array, "batch height width channels"], ...]
    reconstruction: Float[Array, "batch size size 3"]
    reasoned: Float[Array, "batch height width channels"]
    attended: Float[Array, "batch height width channels"]
    fake: Float[Array, " batch"]


class Detector(Rival):
    """Xception's middle flow with graph reasoning behind its half, and attention a block later."""

    loss_names = ("loss", "reconstruction_loss", "similarity_loss")
    starts_from = "xception"
    reconstructs = True
    losses_of_batch = True

    def __init__(self, settings: Settings, image_size: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.backbone = Xception(settings, image_size, dtype=dtype, rngs=rngs)
        self.decoder = Decoder(settings, dtype=dtype, rngs=rngs)
        self.reasoning = GraphReasoning(settings, dtype=dtype, rngs=rngs)
        self.attention = GuidedAttention(settings, dtype=dtype, rngs=rngs)
        small = nnx.initializers.normal(0.02)
        self.head = nnx.Linear(self.backbone.features, 1, kernel_init=small, rngs=rngs)

    def logits(self, images: Array) -> Array:
        """By the running statistics, without noise and with nothing dropped."""
        return _two_logits(self.forward(images, training=False).fake)

    def reconstructed(self, images: Array) -> Array:
        """Normalised pixels in [-1, 1], by the running statistics."""
        return self.forward(images, training=False).reconstruction

    def losses(self, images: Array, labels: Array, weight: Array, seeds: Array) -> dict[str, Array]:
        """Flooded cross-entropy, reconstruction of reals and similarity, the latter two weighted.

        Each is a number of the batch, the same for all images.
        """
        keys = jax.vmap(jax.random.key)(seeds)
        found = self.forward(images, training=True, weight=weight, keys=keys)
        reals = weight * (labels == 0)
        parts = {
            "loss": flooded_cross_entropy(found.fake, labels, weight),
            "reconstruction_loss": RECONSTRUCTION
            * reconstruction_loss(found.reconstruction, images, reals),
            "similarity_loss": SIMILARITY
            * sum(similarity_loss(x, reals, weight * (labels == 1)) for x in found.maps),
        }
        return {name: jnp.broadcast_to(part, weight.shape) for name, part in parts.items()}

    def forward(
        self,
        images: Float[Array, "batch size size 3"],
        *,
        training: bool,
        weight: Float[Array, " batch"] | None = None,
        keys: Key[Array, " batch"] | None = None,
    ) -> Outputs:
        """All stages.

        Args:
          training, weight: as for `Xception.stages`.
          keys: of each image, for noise and dropout; None is without both.
        """
        rows = rows_that_count(weight) if training else None
        blocks = [self.backbone.middle[name] for name in self.backbone.middle_names]
        half = max(1, len(blocks) // 2)
        x = self.backbone.entry_flow(_with_noise(images, keys), training, rows)["entry3"]
        code = x = blocks[0](x, training, rows)
        decoded = self.decoder(dropout(code, keys, 0, DROPOUT), training, rows)
        reconstruction = resized(decoded.image, (images.shape[1], images.shape[2]))
        for block in blocks[1:half]:
            x = block(x, training, rows)
        added = self.reasoning(x, decoded.coarse, decoded.fine)
        reasoned = x = x + dropout(added, keys, 1, DROPOUT)
        for block in blocks[half : half + 1]:
            x = block(x, training, rows)
        difference = jnp.abs(images - reconstruction)
        added = self.attention(difference, x, training, rows)
        attended = x = added + dropout(x, keys, 2, DROPOUT)
        for block in blocks[half + 1 :]:
            x = block(x, training, rows)
        x = self.backbone.exit_flow(x, training, rows)["exit3"]
        features = dropout(jnp.mean(x.astype(jnp.float32), axis=(1, 2)), keys, 3, DROPOUT)
        maps = (code, decoded.coarse, decoded.fine)
        return Outputs(maps, reconstruction, reasoned, attended, self.head(features)[:, 0])


def flooded_cross_entropy(
    fake: Float[Array, " batch"], labels: Int[Array, " batch"], weight: Float[Array, " batch"]
) -> Float[Array, ""]:
    """|m - b| + b, where m is the mean cross-entropy and b the flood level (Ishida et al., 2020:
    'Do We Need Zero Training Loss After Achieving Zero Training Error?')."""
    mean = _mean(cross_entropy(_two_logits(fake), labels), weight)
    return jnp.abs(mean - FLOOD) + FLOOD


def reconstruction_loss(
    reconstruction: Float[Array, "batch size size 3"],
    images: Float[Array, "batch size size 3"],
    reals: Float[Array, " batch"],
) -> Float[Array, ""]:
    """The mean absolute error of the images that `reals` gives a weight; 0 if there are none."""
    return _mean(jnp.mean(jnp.abs(reconstruction - images), axis=(1, 2, 3)), reals)


def similarity_loss(
    features: Float[Array, "batch height width channels"],
    reals: Float[Array, " batch"],
    fakes: Float[Array, " batch"],
) -> Float[Array, ""]:
    """1 - s + d, where s is the mean similarity of two different reals, and d of a real and a fake.

    The similarity is (1 + c) / 2, where c is the cosine of the mean features. A mean over no pair
    is 0.
    """
    means = jnp.mean(features.astype(jnp.float32), axis=(1, 2))
    length = jnp.sqrt(jnp.maximum(jnp.sum(means**2, axis=1, keepdims=True), 1e-24))
    unit = means / length
    cosines = jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)
    similar = (1 + cosines) / 2
    both_real = reals[:, None] * reals * (1 - jnp.eye(len(reals)))
    return 1 - _mean(similar, both_real) + _mean(similar, reals[:, None] * fakes)


def _mean(values: Array, weights: Array) -> Float[Array, ""]:
    total = jnp.sum(weights)
    return jnp.sum(values * weights) / jnp.where(total > 0, total, 1.0)


def _two_logits(fake: Float[Array, " batch"]) -> Float[Array, "batch 2"]:
    return jnp.stack([jnp.zeros_like(fake), fake], axis=1)


def _with_noise(images: Array, keys: Array | None) -> Array:
    """White noise on each image with probability 1/2; pixels stay in [-1, 1]."""
    if keys is None:
        return images

    def noise(key: Array) -> Array:
        whether, what = jax.random.split(jax.random.fold_in(key, 4))
        return jax.random.bernoulli(whether) * jax.random.normal(what, images.shape[1:])

    return jnp.clip(images + NOISE * jax.vmap(noise)(keys), -1.0, 1.0)
