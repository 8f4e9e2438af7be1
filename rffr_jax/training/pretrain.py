"""Job `pretrain`: a masked autoencoder learns to inpaint blocks of real faces (section 3.2).

Or, to compare with, a UNet autoencoder learns to reconstruct them.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree, UInt8

from rffr_jax.cluster.agreement import require_same_data
from rffr_jax.cluster.memory import passes_at_once
from rffr_jax.cluster.sharding import all_gather_parameters, make_mesh
from rffr_jax.config import Config
from rffr_jax.data.pipeline import Batch
from rffr_jax.errors import UserError
from rffr_jax.method.blocks import BlockGrid, complement, draw_masks
from rffr_jax.method.detection import unit_range
from rffr_jax.method.residual import residual_image
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.layers import patchify, take_patches, unpatchify
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.run_state import refuse_other_settings
from rffr_jax.runs.inventory import warn_if_data_changed
from rffr_jax.runs.workdir import has_saved_state, locked_workdir, refuse_other_config, write_config
from rffr_jax.training.initial_weights import check_mae, load_mae
from rffr_jax.training.loop import check_settings, train
from rffr_jax.training.real_faces import RealFaceTraining
from rffr_jax.training.reconstruction import Reconstruction
from rffr_jax.training.sources import read_sources, write_training_sources

log = logging.getLogger(__name__)


def run(config: Config, workdir: pathlib.Path):
    """Pretrains as `config` says; writes checkpoints, metrics and sample pictures."""
    mesh = make_mesh(config.mesh.fsdp)
    if config.autoencoder not in OBJECTIVES:
        raise UserError(
            f"autoencoder={config.autoencoder!r} is not known; choose {' or '.join(OBJECTIVES)}"
        )
    objective = OBJECTIVES[config.autoencoder](config, workdir, mesh)
    check_settings(objective, config, mesh)
    require_same_data(train=objective.dataset, validation=objective.validation)
    with locked_workdir(workdir):
        refuse_other_config(workdir, config, begun=has_saved_state(workdir))
        refuse_other_settings(workdir, objective.about)
        datasets = {"data.train": objective.dataset, "data.validation": objective.validation}
        warn_if_data_changed(workdir, datasets)
        write_config(workdir, config)
        write_training_sources(workdir, objective.dataset, objective.earlier_sources)
        train(objective, config, workdir, mesh)
    residual = "" if config.autoencoder == "mae" else " --config.detector.residual=unet"
    log.info("pretraining done; name it with --config.mae=%s%s", workdir, residual)


class Pretraining(RealFaceTraining):
    """Mean squared error over the hidden patches, raw pixels in [0, 1] (equation 4)."""

    reconstruction_title = "all blocks inpainted"

    def __init__(self, config: Config, workdir: pathlib.Path, mesh: Mesh):
        super().__init__(config, workdir, mesh)
        self._settings = ModelSettings(**config.model.to_dict())
        self._blocks = BlockGrid(self._settings.grid, config.blocks.k)
        self._masks = BlockGrid(self._settings.grid, config.blocks.k, config.mask.blocks)
        self._definition, _ = abstract_mae(self._settings, self._dtype, remat=config.remat)
        self.about = mae_about(self._settings, config)
        if config.init_from and not has_saved_state(workdir):
            folder = pathlib.Path(config.init_from)
            check_mae(folder, self._settings)
            self.earlier_sources = read_sources(folder)

    def init_parameters(self) -> PyTree:
        """Random weights; traced for their shapes, too."""
        mae = MAE(self._settings, dtype=self._dtype, rngs=nnx.Rngs(self._config.seed))
        return nnx.to_pure_dict(nnx.state(mae, nnx.Param))

    def load_parameters(self, folder: pathlib.Path) -> PyTree:
        """The weights that `init_from` names."""
        return load_mae(folder, self._settings, self._mesh)

    def prepared(self, batch: Batch, seed: int, step: int, rows: slice) -> Batch:
        """Images, weights, and the hidden and visible patches of each image."""
        mask = self._config.mask
        size = self._config.batch_size
        hidden = draw_masks(
            mask.kind, self._masks, ratio=mask.ratio, seed=seed, step=step, batch=size
        )[rows]
        visible = complement(hidden, self._blocks.patches)
        return {
            "image": batch["image"],
            "weight": batch["weight"],
            "hidden": hidden,
            "visible": visible,
        }

    def losses(
        self, parameters: PyTree, frozen: PyTree, batch: Mapping[str, Array]
    ) -> tuple[Float[Array, " batch"], PyTree]:
        """Mean squared error of each image over its hidden patches."""
        images = unit_range(batch["image"])
        predicted = self._mae(parameters)(images, batch["visible"], batch["hidden"])
        target = take_patches(patchify(images, self._settings.patch_size), batch["hidden"])
        return jnp.mean((predicted - target) ** 2, axis=(1, 2)), {}

    def reconstruct_with_residual(
        self, parameters: PyTree, images: UInt8[Array, "batch size size 3"]
    ) -> tuple[Float[Array, "batch size size 3"], Float[Array, "batch size size 3"]]:
        """The image put together from its inpainted blocks, and the residual image."""
        at_once = passes_at_once(self._settings, self._dtype, len(images))
        mae, alpha = self._mae(parameters), self._config.blocks.alpha
        return residual_image(mae, self._blocks, unit_range(images), alpha, at_once)

    def sample_columns(
        self, images: UInt8[np.ndarray, "samples size size 3"]
    ) -> dict[str, UInt8[np.ndarray, "samples size size 3"]]:
        """The images, and with one block hidden, each another one."""
        patch = self._settings.patch_size
        patches = np.array(patchify(jnp.asarray(images, jnp.float32), patch))
        for row in range(len(patches)):
            patches[row, self._blocks.hidden[row % self._blocks.count]] = 127.0
        masked = np.asarray(unpatchify(jnp.asarray(patches), patch)).astype(np.uint8)
        return {"original": images, "one block hidden": masked}

    def _mae(self, parameters: PyTree) -> MAE:
        return nnx.merge(self._definition, nnx.State(all_gather_parameters(parameters, self._mesh)))


def mae_about(settings: ModelSettings, config: Config) -> dict[str, Any]:
    """What a MAE checkpoint records: shapes, k, mask, input range."""
    return {
        "kind": "mae",
        "model": dataclasses.asdict(settings),
        "k": config.blocks.k,
        "mask": config.mask.to_dict(),
        "input_range": [0.0, 1.0],
    }


OBJECTIVES = {"mae": Pretraining, "unet": Reconstruction}
