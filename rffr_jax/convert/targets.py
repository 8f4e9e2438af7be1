"""Finds the targets of a MAE's decoder: pixels, or patches normalised by mean and spread.

Names and shapes of the arrays do not show the targets, but the predictions do: on smooth pictures
of several brightnesses the predicted patches are near either the pixels or the normalised patches.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree

from rffr_jax.convert.normalisation import Normalisation
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.layers import patchify
from rffr_jax.models.sizes import ModelSettings

PICTURES = 6
HIDDEN_SHARE = 0.5
EXPLAINED = 0.1
"""A trained decoder explains at least this share of the variance; random weights explain none."""


@dataclasses.dataclass(frozen=True)
class ExplainedVariance:
    """The share of the variance of each target that the predictions explain; at most 1."""

    pixels: float
    normalised: float

    @property
    def normalised_targets(self) -> bool | None:
        """Whether the targets are normalised; None if too little of either is explained."""
        if max(self.pixels, self.normalised) < EXPLAINED:
            return None
        return self.normalised > self.pixels

    def __str__(self) -> str:
        shares = (self.pixels, self.normalised)
        pixels, normalised = (f"{100 * max(0.0, share):.0f} %" for share in shares)
        return (
            f"on drawn pictures its predictions explain {pixels} of the pixels and {normalised} of "
            "patches normalised by their own mean and spread"
        )


def explained_variance(
    predicted: Float[np.ndarray, "pictures patches pixels"],
    pixels: Float[np.ndarray, "pictures patches pixels"],
) -> ExplainedVariance:
    """Compares predictions with pixels, and with the same pixels normalised patch by patch."""
    normalised = pixels - pixels.mean(axis=-1, keepdims=True)
    normalised /= np.sqrt(pixels.var(axis=-1, keepdims=True) + 1e-6)
    shares = (
        1 - np.square(predicted - target).sum() / np.square(target - target.mean()).sum()
        for target in (pixels, normalised)
    )
    return ExplainedVariance(*(float(share) for share in shares))


def probe_decoder(
    parameters: PyTree, settings: ModelSettings, trained: Normalisation
) -> ExplainedVariance:
    """Compares a MAE's predictions on drawn pictures with both targets.

    Args:
      parameters: of a `MAE`, before its normalisation is folded into its weights.
      trained: the normalisation of its pixels.
    """
    pictures = (smooth_pictures(settings.image_size) - trained.mean) / trained.std
    pictures = jnp.asarray(pictures, jnp.float32)
    order = np.random.default_rng(1).permutation(settings.grid**2).astype(np.int32)
    hidden, visible = np.split(order, [round(HIDDEN_SHARE * len(order))])
    definition, _ = abstract_mae(settings)
    predicted = _predict(
        definition, parameters, pictures, jnp.asarray(visible), jnp.asarray(hidden)
    )
    pixels = np.asarray(patchify(pictures, settings.patch_size))[:, hidden]
    return explained_variance(np.asarray(predicted), pixels)


def smooth_pictures(size: int) -> Float[np.ndarray, "pictures size size 3"]:
    """Pictures in [0, 1] from dark to bright, whose brightness and colour change slowly."""
    generator = np.random.default_rng(0)
    place = np.arange(size) / size
    pictures = []
    for brightness in np.linspace(0.2, 0.8, PICTURES):
        picture = np.full((size, size, 3), brightness)
        for _ in range(4):
            rows, columns = generator.uniform(-1.5, 1.5, 2)
            wave = 2 * np.pi * (rows * place[:, None] + columns * place + generator.random())
            colour = 0.06 + 0.02 * generator.standard_normal(3)
            picture += np.sin(wave)[:, :, None] * colour
        pictures.append(picture.clip(0, 1))
    return np.stack(pictures)


@functools.partial(jax.jit, static_argnums=0)
def _predict(
    definition: nnx.GraphDef,
    parameters: PyTree,
    pictures: Float[Array, "pictures size size 3"],
    visible: Int[Array, " visible"],
    hidden: Int[Array, " hidden"],
) -> Float[Array, "pictures hidden pixels"]:
    return nnx.merge(definition, nnx.State(parameters))(pictures, visible, hidden)
