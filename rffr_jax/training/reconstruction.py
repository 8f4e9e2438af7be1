"""A UNet autoencoder learns to reconstruct whole real faces: the paper's counterpart of the MAE."""

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
from rffr_jax.models.sizes import UNetSettings
from rffr_jax.models.unet import UNet
from rffr_jax.runs.checkpoints.weights import load_weights, read_about
from rffr_jax.runs.workdir import has_saved_state
from rffr_jax.training.real_faces import RealFaceTraining
from rffr_jax.training.sources import read_sources


class Reconstruction(RealFaceTraining):
    """Mean squared error over all pixels in [0, 1]; nothing is hidden (section 4.3, Fig. 4)."""

    reconstruction_title = "reconstructed"

    def __init__(self, config: Config, workdir: pathlib.Path, mesh: Mesh):
        super().__init__(config, workdir, mesh)
        if config.remat:
            raise UserError("remat=True is for a MAE; leave it out with autoencoder='unet'")
        settings = UNetSettings(config.model.image_size, **config.unet.to_dict())
        self._definition, self._abstract = abstract_unet(settings, self._dtype)
        self._settings = settings
        self.about = {
            "kind": "unet",
            "model": dataclasses.asdict(settings),
            "input_range": [0.0, 1.0],
        }
        if config.init_from and not has_saved_state(workdir):
            folder = pathlib.Path(config.init_from)
            there = UNetSettings(**read_about(folder, "init_from", "unet")["model"])
            if (there.width, there.depth) != (settings.width, settings.depth):
                raise UserError(
                    f"init_from={folder} holds a UNet with unet.width={there.width} and "
                    f"unet.depth={there.depth}; make them the same in this config"
                )
            self.earlier_sources = read_sources(folder)

    def init_parameters(self) -> PyTree:
        """Random weights; traced for their shapes, too."""
        unet = UNet(self._settings, dtype=self._dtype, rngs=nnx.Rngs(self._config.seed))
        return nnx.to_pure_dict(nnx.state(unet, nnx.Param))

    def load_parameters(self, folder: pathlib.Path) -> PyTree:
        """The weights that `init_from` names; any image size will do."""
        return load_weights(folder, "init_from", self._abstract, self._mesh)

    def prepared(self, batch: Batch, seed: int, step: int, rows: slice) -> Batch:
        """Images and weights."""
        return {name: batch[name] for name in ("image", "weight")}

    def losses(
        self, parameters: PyTree, frozen: PyTree, batch: Mapping[str, Array]
    ) -> tuple[Float[Array, " batch"], PyTree]:
        """Mean squared error of each image."""
        images = unit_range(batch["image"])
        return jnp.mean((self._unet(parameters)(images) - images) ** 2, axis=(1, 2, 3)), {}

    def reconstruct_with_residual(
        self, parameters: PyTree, images: UInt8[Array, "batch size size 3"]
    ) -> tuple[Float[Array, "batch size size 3"], Float[Array, "batch size size 3"]]:
        """What the UNet makes of whole images, and the amplified difference."""
        alpha = self._config.blocks.alpha
        return reconstruction_residual(self._unet(parameters), unit_range(images), alpha)

    def sample_columns(
        self, images: UInt8[np.ndarray, "samples size size 3"]
    ) -> dict[str, UInt8[np.ndarray, "samples size size 3"]]:
        """The images themselves."""
        return {"original": images}

    def _unet(self, parameters: PyTree) -> UNet:
        return nnx.merge(self._definition, nnx.State(all_gather_parameters(parameters, self._mesh)))
