"""What the trainings on real faces share: their data, validation and sample pictures."""

import abc
import logging
import pathlib
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree, UInt8

from rffr_jax.cluster.sharding import all_rows, init_sharded, put_batch, rows_of_process
from rffr_jax.config import Config
from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.cache import InMemory
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.data.pipeline import Batch, evaluation_batches
from rffr_jax.data.selection import keep_reals
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset
from rffr_jax.models.sizes import compute_dtype
from rffr_jax.reports.contact_sheet import contact_sheet, image_pixels, residual_pixels
from rffr_jax.training.sources import Sources

log = logging.getLogger(__name__)

SAMPLES = 6


class RealFaceTraining(abc.ABC):
    """An autoencoder that learns real faces; what it learns from them is for its subclass to say.

    Attributes:
      about: what its checkpoints record.
      earlier_sources: what the weights that it starts from had seen.
    """

    balanced = False
    frozen: PyTree = ()
    about: dict[str, Any]
    earlier_sources: Sources

    def __init__(self, config: Config, workdir: pathlib.Path, mesh: Mesh):
        self._config, self._workdir, self._mesh = config, workdir, mesh
        self._dtype = compute_dtype(config.dtype)
        self._size = config.model.image_size
        self.dataset = load_reals(config.data.train, "train")
        if config.data.cache:
            self.dataset = InMemory(self.dataset, self._size)
        self.validation = load_reals(config.data.validation, "validation")
        self._bad_validation = BadFiles(self.validation, config.data.max_bad_fraction)
        self._mean_loss = jax.jit(self._weighted_loss)
        self._pictures = jax.jit(self.reconstruct_with_residual)
        self.earlier_sources = {}

    # ---- what a subclass says

    @abc.abstractmethod
    def init_parameters(self) -> PyTree:
        """Random weights; traced for their shapes, too."""

    @abc.abstractmethod
    def load_parameters(self, folder: pathlib.Path) -> PyTree:
        """The weights that `init_from` names."""

    @abc.abstractmethod
    def prepared(self, batch: Batch, seed: int, step: int, rows: slice) -> Batch:
        """What the loss reads of a batch; random choices are keyed by `seed` and `step`."""

    @abc.abstractmethod
    def losses(
        self, parameters: PyTree, frozen: PyTree, batch: Mapping[str, Array]
    ) -> tuple[Float[Array, " batch"], PyTree]:
        """Of every image; the second is {}."""

    @abc.abstractmethod
    def reconstruct_with_residual(
        self, parameters: PyTree, images: UInt8[Array, "batch size size 3"]
    ) -> tuple[Float[Array, "batch size size 3"], Float[Array, "batch size size 3"]]:
        """What the model makes of whole images, about [0, 1], and their residuals in [-1, 1]."""

    @abc.abstractmethod
    def sample_columns(
        self, images: UInt8[np.ndarray, "samples size size 3"]
    ) -> dict[str, UInt8[np.ndarray, "samples size size 3"]]:
        """Pictures by their titles that stand in front of the reconstructions."""

    reconstruction_title: str

    # ---- what the loop asks

    def load_initial_parameters(self) -> PyTree:
        """Weights named by `init_from`, else fresh ones."""
        if not self._config.init_from:
            return init_sharded(self.init_parameters, self._mesh)
        return self.load_parameters(pathlib.Path(self._config.init_from))

    def inputs(self, step: int, batch: Batch, rows: slice) -> Batch:
        """Images, weights, and what else the loss reads."""
        return self.prepared(batch, self._config.seed, step, rows)

    def evaluate(self, parameters: PyTree, step: int) -> dict[str, dict[str, float]]:
        """Loss on the validation reals, the same choices every time; draws the sample sheet."""
        total, weight, first = 0.0, 0.0, None
        batches = evaluation_batches(
            self.validation,
            size=self._size,
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
                inputs = self.prepared(batch, 0, number, rows)
                loss, counted = self._mean_loss(parameters, put_batch(inputs, self._mesh))
                total, weight = total + float(loss), weight + float(counted)
        self._bad_validation.share()
        if first is not None:
            self._draw_samples(parameters, first["image"], step)
        return {"validation": {"loss": total / max(weight, 1.0)}}

    def _weighted_loss(self, parameters: PyTree, batch: Mapping[str, Array]):
        losses, _ = self.losses(parameters, (), batch)
        return jnp.sum(losses * batch["weight"]), jnp.sum(batch["weight"])

    def _draw_samples(self, parameters: PyTree, images: np.ndarray, step: int):
        on_devices = put_batch({"image": images}, self._mesh)["image"]
        reconstructed, residual = map(all_rows, self._pictures(parameters, on_devices))
        if jax.process_index() != 0:
            return
        shown = images[:SAMPLES]
        columns = {
            **self.sample_columns(shown),
            self.reconstruction_title: [image_pixels(image) for image in reconstructed],
            f"residual x {self._config.blocks.alpha:g}": [residual_pixels(r) for r in residual],
        }
        rows = [[column[i] for column in columns.values()] for i in range(len(shown))]
        note = synthetic_data_note(self.validation.examples)
        file = self._workdir / "samples" / f"{step:06d}.png"
        contact_sheet(file, rows, list(columns), note=note)


def load_reals(specs: str | tuple[str, ...], default_split: str) -> Dataset:
    """The reals of the named data; how many fakes were left out is said once.

    Raises:
      UserError: no real image in it.
    """
    dataset = load_dataset(specs, default_split=default_split, weighted=default_split == "train")
    reals = keep_reals(dataset)
    left_out = len(dataset.examples) - len(reals.examples)
    if not reals.examples:
        raise UserError(f"{specs} holds no real image; pretraining is for real faces only")
    if left_out:
        log.info("left out %d fakes of %s: pretraining is for real faces only", left_out, specs)
    return reals
