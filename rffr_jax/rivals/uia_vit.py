"""UIA-ViT (Zhuang et al., ECCV 2022): a ViT from ImageNet whose attention learns which patches
belong together, without labels of patches.

Gaussians of the middle patch features of reals, and of those of the centres of fakes, say which
patches of a fake look fake. The attention of the late blocks is pulled towards high values inside
the fake and inside the real patches, and a low one between them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from rffr_jax.errors import UserError
from rffr_jax.models.gaussian import RunningGaussian
from rffr_jax.models.layers import NORM_EPSILON, patchify
from rffr_jax.models.sizes import ModelSettings, model_size
from rffr_jax.models.vit import ViT
from rffr_jax.rivals import Rival, cross_entropy

WINDOWS = 16
"""Parts of a run, at whose ends the Gaussians are fitted: half an epoch of the published eight."""
BEGIN = 1 / 8
"""The share of a run after which the attention counts: one epoch."""
STEEPNESS, MIDDLE = 12.0, 0.7
CONSTANTS = (0.2, 0.6, 0.6)
"""Where they start: the attention between fake and real patches, inside the fake, inside the real
ones."""
WEIGHT, BETWEEN_WEIGHT, WITHIN_WEIGHT = 0.06, 0.5, 0.05


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that fix the shapes of the ViT's parameters.

    Attributes:
      size: a name as of `model.size`.
      patch_size: side of a patch in pixels.

    Raises:
      UserError: unknown size.
    """

    size: str = "vit_b16"
    patch_size: int = 16

    def __post_init__(self):
        try:
            model_size(self.size)
        except UserError as error:
            raise UserError(str(error).replace("model.size", "rival.size")) from None

    def vit(self, image_size: int) -> ModelSettings:
        """The ViT for images of this size.

        Raises:
          UserError: patches do not fill the image, or there is only one.
        """
        if self.patch_size < 1 or image_size % self.patch_size or image_size == self.patch_size:
            raise UserError(
                f"model.image_size={image_size} is not a multiple of rival.patch_size="
                f"{self.patch_size}, by two or more"
            )
        return ModelSettings(self.size, image_size, self.patch_size)


CONFIG = {
    "model": {"image_size": 224},
    "detector": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "optimizer": {"learning_rate": 3e-5},
    "batch_size": 96,
}


class Detector(Rival):
    """The ViT, and one linear layer on its class token beside a weighted mean of its patches.

    A test weighs the patches as the training step did that the weights are from.
    """

    loss_names = ("loss", "consistency", "constants")
    starts_from = "vit"

    def __init__(self, settings: Settings, image_size: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.patch_size, model = settings.patch_size, settings.vit(image_size)
        self.grid, width, depth = model.grid, model.shape.width, model.shape.depth
        # The sixth and the last five of twelve.
        self.depths = (depth // 2, 7 * depth // 12, depth)
        self.backbone = ViT(model, dtype=dtype, rngs=rngs)
        small = nnx.initializers.normal(0.02)
        self.head = nnx.Linear(2 * width, 2, kernel_init=small, rngs=rngs)
        self.constants = nnx.Param(jnp.array(CONSTANTS))
        self.progress = nnx.BatchStat(jnp.zeros(()))
        self.real, self.fake = RunningGaussian(width), RunningGaussian(width)
        # Its scale and bias would have no gradient.
        self.middle_norm = nnx.LayerNorm(
            width, epsilon=NORM_EPSILON, use_bias=False, use_scale=False, rngs=rngs
        )

    def at_progress(self, progress: Float[Array, ""]):
        """Fits the Gaussians where a window has ended since the last step, that of an earlier run
        too."""
        window = jnp.floor(WINDOWS * progress)
        ended = window != jnp.floor(WINDOWS * self.progress[...])
        self.real.fit(ended)
        self.fake.fit(ended)
        self.progress[...] = progress

    def stages(self, images: Float[Array, "batch size size 3"]) -> dict[str, Array]:
        """What the loss and the head read, float32.

        Returns:
          features: of patches behind the middle block, normalised [batch, patches, width].
          attention: of the late blocks before the softmax, the mean over blocks and heads
            [batch, tokens, tokens]; the class token is the first.
          tokens: behind the last block [batch, tokens, width].
        """
        middle, late, last = self.depths
        x = self.backbone.embed(patchify(images, self.patch_size), jnp.arange(self.grid**2))
        x = self.backbone.transformer.through(x, 0, middle)
        features = self.middle_norm(x[:, 1:].astype(jnp.float32))
        x = self.backbone.transformer.through(x, middle, late)
        x, attention = self.backbone.transformer.through_with_logits(x, late, last)
        return {
            "features": features,
            "attention": attention,
            "tokens": self.backbone.norm(x),
        }

    def logits(self, images: Array) -> Array:
        """By the class token and the weighted patches."""
        return self._assembled(self.stages(images))

    def losses(self, images: Array, labels: Array, weight: Array, seeds: Array) -> dict[str, Array]:
        """Cross-entropy; from `BEGIN` on also the attention's distance from what it should be, and
        what keeps the three constants apart."""
        found = self.stages(images)
        features = jax.lax.stop_gradient(found["features"])
        self._add(features, labels, weight)
        looks_fake = self.real.distance(features) > self.fake.distance(features)
        begun = (self.progress[...] >= BEGIN) & self.real.is_fitted & self.fake.is_fitted
        constants = self.constants[...]
        attention = found["attention"][:, 1:, 1:]
        # Half of a batch is real: twice the mean over all is the sum of both means.
        distance = 2 * consistency_distance(attention, looks_fake, labels, constants)
        between, in_fake, in_real = jnp.abs(constants)
        apart = BETWEEN_WEIGHT * between + WITHIN_WEIGHT / in_fake + WITHIN_WEIGHT / in_real
        return {
            "loss": cross_entropy(self._assembled(found), labels),
            "consistency": jnp.where(begun, WEIGHT * distance, 0.0),
            "constants": jnp.full(len(labels), jnp.where(begun, apart, 0.0)),
        }

    def _add(self, features: Array, labels: Array, weight: Array):
        """Counts the patches of reals, and the central ones of fakes."""
        there, is_fake = (weight > 0)[:, None], (labels == 1)[:, None]
        central = jnp.asarray(central_patches(self.grid))
        width = features.shape[-1]
        for gaussian, counts in (
            (self.real, there & ~is_fake & jnp.ones_like(central)),
            (self.fake, there & is_fake & central),
        ):
            gaussian.add(features.reshape(-1, width), counts.reshape(-1))

    def _assembled(self, found: dict[str, Array]) -> Array:
        """The head on class token and patches, which the class token's attention weighs more and
        more as the training goes on."""
        progress = self.progress[...]
        attended = jax.nn.sigmoid(found["attention"][:, 0, 1:])
        even = jax.nn.sigmoid(-STEEPNESS * (progress - MIDDLE))
        weights = jnp.where(progress < BEGIN, 1.0, even + (1 - even) * attended)
        patches = found["tokens"][:, 1:]
        assembled = jnp.mean(weights[..., None] * patches, axis=1)
        return self.head(jnp.concatenate([found["tokens"][:, 0], assembled], axis=-1))


def central_patches(grid: int) -> Bool[np.ndarray, " patches"]:
    """The patches of the central square: 8 x 8 of 14 x 14, and as near to that in other grids."""
    margin = (3 * grid + 7) // 14
    inside = np.zeros((grid, grid), bool)
    inside[margin : grid - margin, margin : grid - margin] = True
    return inside.reshape(-1)


def consistency_distance(
    attention: Float[Array, "batch patches patches"],
    looks_fake: Bool[Array, "batch patches"],
    labels: Int[Array, " batch"],
    constants: Float[Array, "3"],
) -> Float[Array, " batch"]:
    """Mean absolute difference between the attention's sigmoid and what it should be.

    It should be `constants` between fake and real patches, inside the fake and inside the real
    ones; on the diagonal of a real image 1. A real image has only real patches. The mean divides
    by the pairs off the diagonal, as published.

    Args:
      attention: before the softmax.
      looks_fake: of each patch, if the image is fake.
    """
    between, in_fake, in_real = constants
    is_fake = (labels == 1)[:, None]
    fake = looks_fake & is_fake
    same = fake[:, :, None] == fake[:, None, :]
    inside = jnp.where(fake[:, :, None], in_fake, in_real)
    wanted = jnp.where(same, inside, between)
    count = attention.shape[-1]
    wanted = jnp.where(jnp.eye(count, dtype=bool) & ~is_fake[..., None], 1.0, wanted)
    differences = jnp.abs(jax.nn.sigmoid(attention) - wanted)
    return jnp.sum(differences, axis=(1, 2)) / (count**2 - count)
