"""Job `pretrain`: a masked autoencoder learns to inpaint blocks of real faces (section 3.2)."""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from rffr_jax.agreement import require_same_data
from rffr_jax.blocks import BlockGrid, complement, draw_masks
from rffr_jax.checkpoints.run_state import refuse_other_settings
from rffr_jax.config import Config
from rffr_jax.contact_sheet import contact_sheet, image_pixels, residual_pixels
from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.cache import InMemory
from rffr_jax.data.examples import Dataset
from rffr_jax.data.pipeline import Batch, evaluation_batches
from rffr_jax.data.provenance import honest_note
from rffr_jax.data.selection import keep_reals
from rffr_jax.data.specs import load_dataset
from rffr_jax.detection import unit_range
from rffr_jax.errors import UserError
from rffr_jax.memory import passes_at_once
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.layers import patchify, take_patches, unpatchify
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings, compute_dtype
from rffr_jax.residual import residual_image
from rffr_jax.sharding import (
    all_rows,
    make_mesh,
    on_mesh,
    put_batch,
    rows_of_process,
    whole,
)
from rffr_jax.training.loop import check_settings, train
from rffr_jax.training.sources import keep_sources, recorded_sources
from rffr_jax.training.starting_weights import check_mae, load_mae
from rffr_jax.workdir import has_begun, held, refuse_other_config, write_config

log = logging.getLogger(__name__)

SAMPLES = 6


def run(config: Config, workdir: pathlib.Path):
    """Pretrains as `config` says; writes checkpoints, metrics and sample pictures."""
    mesh = make_mesh(config.mesh.fsdp)
    objective = Pretraining(config, workdir, mesh)
    check_settings(objective, config, mesh)
    require_same_data(train=objective.dataset, validation=objective.validation)
    with held(workdir):
        refuse_other_config(workdir, config, begun=has_begun(workdir))
        refuse_other_settings(workdir, objective.about)
        write_config(workdir, config)
        keep_sources(workdir, objective.dataset, objective.earlier_sources)
        train(objective, config, workdir, mesh)
    log.info("pretraining done; name this MAE with --config.mae=%s", workdir)


class Pretraining:
    """Mean squared error over the hidden patches, raw pixels in [0, 1] (equation 4)."""

    balanced = False
    frozen: PyTree = ()

    def __init__(self, config: Config, workdir: pathlib.Path, mesh: Mesh):
        self._config, self._workdir, self._mesh = config, workdir, mesh
        self._settings = ModelSettings(**config.model.to_dict())
        self._dtype = compute_dtype(config.dtype)
        self._blocks = BlockGrid(self._settings.grid, config.blocks.k)
        self._masks = BlockGrid(self._settings.grid, config.blocks.k, config.mask.blocks)
        self._definition, _ = abstract_mae(self._settings, self._dtype, remat=config.remat)
        self.dataset = real_only(config.data.train, "train")
        if config.data.cache:
            self.dataset = InMemory(self.dataset, self._settings.image_size)
        self.validation = real_only(config.data.validation, "validation")
        self._bad_validation = BadFiles(self.validation, config.data.max_bad_fraction)
        self._mean_loss = jax.jit(self._weighted_loss)
        self._pictures = jax.jit(self._inpainted_and_residual)
        self.about = mae_about(self._settings, config)
        self.earlier_sources = {}
        if config.init_from and not has_begun(workdir):
            folder = pathlib.Path(config.init_from)
            check_mae(folder, self._settings)
            self.earlier_sources = recorded_sources(folder)

    def fresh_parameters(self) -> PyTree:
        """Random weights; traced for their shapes, too."""
        mae = MAE(self._settings, dtype=self._dtype, rngs=nnx.Rngs(self._config.seed))
        return nnx.to_pure_dict(nnx.state(mae, nnx.Param))

    def starting_parameters(self) -> PyTree:
        """Weights named by `init_from`, else fresh ones."""
        if not self._config.init_from:
            return on_mesh(self.fresh_parameters, self._mesh)
        return load_mae(pathlib.Path(self._config.init_from), self._settings, self._mesh)

    def inputs(self, step: int, batch: Batch, rows: slice) -> Batch:
        """Images, weights, and the hidden and visible patches of each image."""
        return self._masked(batch, self._config.seed, step, rows)

    def losses(
        self, parameters: PyTree, frozen: PyTree, batch: Mapping[str, Array]
    ) -> Float[Array, " batch"]:
        """Mean squared error of each image over its hidden patches."""
        images = unit_range(batch["image"])
        predicted = self._mae(parameters)(images, batch["visible"], batch["hidden"])
        target = take_patches(patchify(images, self._settings.patch_size), batch["hidden"])
        return jnp.mean((predicted - target) ** 2, axis=(1, 2))

    def evaluate(self, parameters: PyTree, step: int) -> dict[str, dict[str, float]]:
        """Loss on the validation reals, the same masks every time; draws the sample sheet."""
        total, weight, first = 0.0, 0.0, None
        batches = evaluation_batches(
            self.validation,
            size=self._settings.image_size,
            batch_size=self._config.batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=self._config.data.workers,
        )
        rows = rows_of_process(self._config.batch_size, self._mesh)
        with closing(batches):
            for number, batch in enumerate(batches):
                self._bad_validation.update(batch)
                first = batch if first is None else first
                inputs = self._masked(batch, 0, number, rows)
                loss, counted = self._mean_loss(parameters, put_batch(inputs, self._mesh))
                total, weight = total + float(loss), weight + float(counted)
        self._bad_validation.share()
        if first is not None:
            self._draw_samples(parameters, first["image"], step)
        return {"validation": {"loss": total / max(weight, 1.0)}}

    def _inpainted_and_residual(self, parameters: PyTree, images: Array) -> tuple[Array, Array]:
        at_once = passes_at_once(self._settings, self._dtype, len(images))
        mae, alpha = self._mae(parameters), self._config.blocks.alpha
        return residual_image(mae, self._blocks, unit_range(images), alpha, at_once)

    def _weighted_loss(self, parameters: PyTree, batch: Mapping[str, Array]):
        losses = self.losses(parameters, (), batch)
        return jnp.sum(losses * batch["weight"]), jnp.sum(batch["weight"])

    def _masked(self, batch: Batch, seed: int, step: int, rows: slice) -> Batch:
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

    def _mae(self, parameters: PyTree) -> MAE:
        return nnx.merge(self._definition, nnx.State(whole(parameters, self._mesh)))

    def _draw_samples(self, parameters: PyTree, images: np.ndarray, step: int):
        on_devices = put_batch({"image": images}, self._mesh)["image"]
        inpainted, residual = map(all_rows, self._pictures(parameters, on_devices))
        if jax.process_index() != 0:
            return
        patch = self._settings.patch_size
        patches = np.array(patchify(jnp.asarray(images[:SAMPLES], jnp.float32), patch))
        for row in range(len(patches)):
            patches[row, self._blocks.hidden[row % self._blocks.count]] = 127.0
        masked = np.asarray(unpatchify(jnp.asarray(patches), patch)).astype(np.uint8)
        rows = [
            [images[i], masked[i], image_pixels(inpainted[i]), residual_pixels(residual[i])]
            for i in range(len(masked))
        ]
        titles = [
            "original",
            "one block hidden",
            "all blocks inpainted",
            f"residual x {self._config.blocks.alpha:g}",
        ]
        note = honest_note(self.validation.examples)
        contact_sheet(self._workdir / "samples" / f"{step:06d}.png", rows, titles, note=note)


def real_only(specs: str | tuple[str, ...], default_split: str) -> Dataset:
    """The reals of the named data; how many fakes were left out is said once.

    Raises:
      UserError: no real image in it.
    """
    dataset = load_dataset(specs, default_split=default_split, weighted=default_split == "train")
    reals = keep_reals(dataset)
    left_out = len(dataset.examples) - len(reals.examples)
    if not reals.examples:
        raise UserError(f"{specs} holds no real image; the MAE learns from real faces only")
    if left_out:
        log.info("left out %d fakes of %s: the MAE learns from real faces only", left_out, specs)
    return reals


def mae_about(settings: ModelSettings, config: Config) -> dict[str, Any]:
    """What a MAE checkpoint records: shapes, k, mask, input range."""
    return {
        "kind": "mae",
        "model": dataclasses.asdict(settings),
        "k": config.blocks.k,
        "mask": config.mask.to_dict(),
        "input_range": [0.0, 1.0],
    }
