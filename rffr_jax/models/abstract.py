"""Definitions of models and the shapes of their parameters, without making them."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import PyTree

from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings, UNetSettings
from rffr_jax.models.unet import UNet
from rffr_jax.models.vit import ViT

PARAMETERS = nnx.Any(nnx.Param, nnx.BatchStat)
"""The variables in a tree of parameters, with batch normalisation's running statistics."""


def abstract_mae(
    settings: ModelSettings, dtype: DTypeLike = jnp.float32, *, remat: bool = False
) -> tuple[nnx.GraphDef, PyTree]:
    """As `abstract`, for a MAE."""
    return abstract(lambda rngs: MAE(settings, dtype=dtype, remat=remat, rngs=rngs))


def abstract_vit(
    settings: ModelSettings, dtype: DTypeLike = jnp.float32
) -> tuple[nnx.GraphDef, PyTree]:
    """As `abstract`, for a ViT."""
    return abstract(lambda rngs: ViT(settings, dtype=dtype, rngs=rngs))


def abstract_unet(
    settings: UNetSettings, dtype: DTypeLike = jnp.float32
) -> tuple[nnx.GraphDef, PyTree]:
    """As `abstract`, for a UNet."""
    return abstract(lambda rngs: UNet(settings, dtype=dtype, rngs=rngs))


def abstract(build: Callable[[nnx.Rngs], nnx.Module]) -> tuple[nnx.GraphDef, PyTree]:
    """The definition of the module from `build`, and its parameters as `jax.ShapeDtypeStruct`."""
    definition, state = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))), PARAMETERS)
    return definition, nnx.to_pure_dict(state)
