"""The UNet's part of pretraining: it reconstructs whole images, as the paper's counterpart."""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree, UInt8

from rffr_jax.cluster.sharding import all_gather_parameters
from rffr_jax.config import Config
from rffr_jax.data.pipeline import Batch
from rffr_jax.errors import UserError
from rffr_jax.method.baseline_residuals import reconstruction_residual
from rffr_jax.method.detection import unit_range
from rffr_jax.models.abstract import abstract_unet
from rffr_jax.models.sizes import UNetSettings, compute_dtype
from rffr_jax.models.unet import UNet
from rffr_jax.runs.checkpoints.weights import load_weights, read_about


class UNetTraining:
    """Mean squared error over all pixels in [0, 1]; nothing is hidden (section 4.3, Fig. 4)."""

    title = "reconstructed"
    stages = (0,)

    def __init__(self, config: Config, mesh: Mesh):
        if config.remat:
            raise UserError("remat=True is for a MAE; leave it out with autoencoder='unet'")
        self._config, self._mesh = config, mesh
        self._dtype = compute_dtype(config.dtype)
        self._settings = UNetSettings(config.model.image_size, **config.unet.to_dict())
        self._definition, self._abstract = abstract_unet(self._settings, self._dtype)
        self.about = {
            "kind": "unet",
            "model": dataclasses.asdict(self._settings),
            "input_range": [0.0, 1.0],
        }

    def check_weights(self, folder: pathlib.Path):
        """Raises: UserError if `init_from` names no UNet of the same width and depth."""
        there = UNetSettings(**read_about(folder, "init_from", "unet")["model"])
        if (there.width, there.depth) != (self._settings.width, self._settings.depth):
            raise UserError(
                f"init_from={folder} holds a UNet with unet.width={there.width} and "
                f"unet.depth={there.depth}; make them the same in this config"
            )

    def load_weights(self, folder: pathlib.Path) -> PyTree:
        """The weights that `init_from` names, for any image size."""
        return load_weights(folder, "init_from", self._abstract, self._mesh)

    def init_parameters(self) -> PyTree:
        """Random weights."""
        unet = UNet(self._settings, dtype=self._dtype, rngs=nnx.Rngs(self._config.seed))
        return nnx.to_pure_dict(nnx.state(unet, nnx.Param))

    def inputs(self, batch: Batch, step: int, rows: slice) -> Batch:
        """Images and weights."""
        return {name: batch[name] for name in ("image", "weight")}

    validation_inputs = inputs

    def losses(self, parameters: PyTree, batch: Mapping[str, Array]) -> Float[Array, " batch"]:
        """Mean squared error of each image."""
        images = unit_range(batch["image"])
        return jnp.mean((self._unet(parameters)(images) - images) ** 2, axis=(1, 2, 3))

    def reconstruct_with_residual(
        self, parameters: PyTree, images: UInt8[Array, "batch size size 3"]
    ) -> tuple[Float[Array, "batch size size 3"], Float[Array, "batch size size 3"]]:
        """The UNet's reconstruction of whole images, and the amplified difference."""
        alpha = self._config.blocks.alpha
        return reconstruction_residual(self._unet(parameters), unit_range(images), alpha)

    def sample_columns(
        self, images: UInt8[np.ndarray, "samples size size 3"]
    ) -> dict[str, UInt8[np.ndarray, "samples size size 3"]]:
        """The images themselves."""
        return {"original": images}

    def _unet(self, parameters: PyTree) -> UNet:
        return nnx.merge(self._definition, nnx.State(all_gather_parameters(parameters, self._mesh)))
