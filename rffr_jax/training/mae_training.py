"""The MAE's part of pretraining: masks, loss on hidden patches, reconstruction block by block."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree, UInt8

from rffr_jax.cluster.memory import passes_at_once
from rffr_jax.cluster.sharding import all_gather_parameters
from rffr_jax.config import Config
from rffr_jax.data.pipeline import Batch
from rffr_jax.method.autoencoder_checkpoint import read_autoencoder
from rffr_jax.method.blocks import BlockGrid, complement, sample_masks
from rffr_jax.method.detection import unit_range
from rffr_jax.method.residual import residual_image
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.layers import patchify, take_patches, unpatchify
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings, compute_dtype
from rffr_jax.runs.checkpoints.weights import load_weights
from rffr_jax.training.initial_weights import check_shapes
from rffr_jax.training.mask_schedule import read_mask_stages


class MAETraining:
    """Mean squared error over the hidden patches, raw pixels in [0, 1] (equation 4)."""

    title = "all blocks inpainted"

    def __init__(self, config: Config, mesh: Mesh):
        self._config, self._mesh = config, mesh
        self._dtype = compute_dtype(config.dtype)
        self._settings = ModelSettings(**config.model.to_dict())
        self._blocks = BlockGrid(self._settings.grid, config.blocks.k)
        self._stages = read_mask_stages(config.mask, config.steps)
        self._masks = [
            BlockGrid(self._settings.grid, config.blocks.k, stage.blocks) for stage in self._stages
        ]
        self.stages = tuple(stage.start for stage in self._stages)
        self._definition, self._abstract = abstract_mae(
            self._settings, self._dtype, remat=config.remat
        )
        self.about = mae_about(self._settings, config)

    def check_weights(self, folder: pathlib.Path):
        """Raises: UserError if `init_from` names no MAE that can become this one."""
        about = read_autoencoder(folder, "init_from", "mae")
        check_shapes(about, self._settings, f"init_from={folder}")

    def load_weights(self, folder: pathlib.Path) -> PyTree:
        """The weights that `init_from` names, for any image size: positions are no parameters."""
        return load_weights(folder, "init_from", self._abstract, self._mesh, part="mae")

    def init_parameters(self) -> PyTree:
        """Random weights."""
        mae = MAE(self._settings, dtype=self._dtype, rngs=nnx.Rngs(self._config.seed))
        return nnx.to_pure_dict(nnx.state(mae, nnx.Param))

    def inputs(self, batch: Batch, step: int, rows: slice) -> Batch:
        """Images, weights, and the hidden and visible patches of each image."""
        stage = sum(start <= step for start in self.stages) - 1
        return self._inputs(batch, stage, self._config.seed, step, rows)

    def validation_inputs(self, batch: Batch, number: int, rows: slice) -> Batch:
        """The same for batch `number` of a validation, with the masks of the last stage."""
        return self._inputs(batch, -1, 0, number, rows)

    def _inputs(self, batch: Batch, stage: int, seed: int, step: int, rows: slice) -> Batch:
        hidden = sample_masks(
            self._stages[stage].kind,
            self._masks[stage],
            ratio=self._config.mask.ratio,
            seed=seed,
            step=step,
            batch=self._config.batch_size,
        )[rows]
        visible = complement(hidden, self._blocks.patches)
        return {
            "image": batch["image"],
            "weight": batch["weight"],
            "hidden": hidden,
            "visible": visible,
        }

    def losses(self, parameters: PyTree, batch: Mapping[str, Array]) -> Float[Array, " batch"]:
        """Mean squared error of each image over its hidden patches.

        Args:
          parameters: gathered, or split where the step gathers each layer (`training.step`).
        """
        images = unit_range(batch["image"])
        mae = nnx.merge(self._definition, nnx.State(parameters))
        predicted = mae(images, batch["visible"], batch["hidden"])
        target = take_patches(patchify(images, self._settings.patch_size), batch["hidden"])
        return jnp.mean((predicted - target) ** 2, axis=(1, 2))

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
        """The images, and the images with one block hidden, a different one in each row."""
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
