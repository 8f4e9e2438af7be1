"""Job `pretrain`: an autoencoder learns real faces (section 3.2).

A masked autoencoder learns to inpaint blocks; for comparison, a UNet learns to copy whole images.
"""

import functools
import logging
import pathlib
from collections.abc import Mapping
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from rffr_jax.cluster.agreement import require_same_data
from rffr_jax.cluster.sharding import (
    all_gather_parameters,
    all_rows,
    init_sharded,
    make_mesh,
    padded_batch_size,
    put_batch,
    rows_of_process,
)
from rffr_jax.config import Config
from rffr_jax.data.augmentation import AugmentedDataset
from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.origin_records import (
    read_sources,
    start_image_records,
    write_training_images,
    write_training_sources,
)
from rffr_jax.data.origins import Origins, synthetic_data_note
from rffr_jax.data.pipeline import Batch, evaluation_batches
from rffr_jax.data.selection import keep_reals
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset
from rffr_jax.faces.frames_as_crops import describe_frames_as_crops
from rffr_jax.reports.contact_sheet import contact_sheet, image_pixels, residual_pixels
from rffr_jax.runs.checkpoints.run_state import refuse_other_settings
from rffr_jax.runs.inventory import warn_if_data_changed
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.workdir import has_saved_state, locked_workdir, refuse_other_config, write_config
from rffr_jax.training.loop import Objective, check_settings, train
from rffr_jax.training.mae_training import MAETraining
from rffr_jax.training.reconstruction_check import SPLIT, check_reconstructions
from rffr_jax.training.step import RowLosses
from rffr_jax.training.training_set import read_training_images
from rffr_jax.training.unet_training import UNetTraining

log = logging.getLogger(__name__)

AUTOENCODERS = {"mae": MAETraining, "unet": UNetTraining}
SAMPLES = 6


def run(config: Config, workdir: pathlib.Path):
    """Pretrains as `config` says; writes checkpoints, metrics and sample pictures.

    Raises:
      UserError: settings, data or weights that do not fit.
      InterruptedRunError: a signal asked to stop; the state is saved.
    """
    mesh = make_mesh(config.mesh.fsdp)
    objective = Pretraining(config, workdir, mesh)
    check_settings(objective, config, mesh)
    require_same_data(train=objective.dataset, validation=objective.validation)
    with locked_workdir(workdir):
        refuse_other_config(workdir, config, begun=has_saved_state(workdir))
        refuse_other_settings(workdir, objective.about)
        datasets = {"data.train": objective.dataset, "data.validation": objective.validation}
        warn_if_data_changed(workdir, datasets)
        write_config(workdir, config)
        write_training_sources(workdir, objective.dataset, objective.earlier_sources)
        start_image_records(workdir)
        train(objective, config, workdir, mesh)
    residual = "" if config.autoencoder == "mae" else " --config.detector.residual=unet"
    log.info("pretraining done; name it with --config.mae=%s%s", workdir, residual)


class Pretraining(Objective):
    """An autoencoder on real faces: its data, its validation loss and its sample pictures.

    Attributes:
      validation: the validation reals.
      earlier_sources: origins of the data that the weights of `init_from` were trained on.
    """

    balanced = False
    dataset: CachedDataset | AugmentedDataset
    frozen: PyTree = ()

    def __init__(self, config: Config, workdir: pathlib.Path, mesh: Mesh):
        self._config, self._workdir, self._mesh = config, workdir, mesh
        if config.autoencoder not in AUTOENCODERS:
            choices = " or ".join(AUTOENCODERS)
            raise UserError(f"autoencoder={config.autoencoder!r} is not known; choose {choices}")
        self._autoencoder = AUTOENCODERS[config.autoencoder](config, mesh)
        self.about = self._autoencoder.about
        self.stages = self._autoencoder.stages
        self.init_parameters = self._autoencoder.init_parameters
        reals = load_reals(config.data.train, "train")
        self.dataset, loading = read_training_images(reals, config)
        self.workers = loading.workers
        self.validation = load_reals(config.data.validation, "validation")
        self._bad_validation = BadFiles(self.validation, config.data.max_bad_fraction)
        self._mean_loss = jax.jit(self._weighted_loss)
        self._reconstruct = jax.jit(self._autoencoder.reconstruct_with_residual)
        self.earlier_sources = Origins()
        if config.init_from and not has_saved_state(workdir):
            folder = folder_of_model(config.init_from, "init_from")
            self._autoencoder.check_weights(folder)
            self.earlier_sources = read_sources(folder)

    def load_initial_parameters(self) -> PyTree:
        """The weights that `init_from` names, else random ones."""
        if not self._config.init_from:
            return init_sharded(self.init_parameters, self._mesh)
        return self._autoencoder.load_weights(folder_of_model(self._config.init_from, "init_from"))

    def inputs(self, step: int, batch: Batch, rows: slice) -> Batch:
        """Images, weights, and for a MAE the hidden and visible patches."""
        return self._autoencoder.inputs(batch, step, rows)

    def losses(
        self, parameters: PyTree, frozen: PyTree, batch: Mapping[str, Array]
    ) -> tuple[RowLosses, PyTree]:
        """Mean squared error of each image; no parameter follows the batch."""
        return {"loss": self._autoencoder.losses(parameters, batch)}, {}

    def after_save(self):
        """Records the images that were read so far."""
        write_training_images(self._workdir, self.dataset.hashes)

    def evaluate(self, parameters: PyTree, step: int) -> dict[str, dict[str, float]]:
        """Loss on the validation reals, with the same masks every time; draws the sample sheet.

        After the last step a MAE is compared with inpainting without a network.
        """
        total, weight, first = 0.0, 0.0, None
        batches = evaluation_batches(
            self.validation,
            size=self._config.model.image_size,
            batch_size=self._config.batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=self.workers,
        )
        rows = rows_of_process(self._config.batch_size, self._mesh)
        with closing(batches):
            for number, batch in enumerate(batches):
                self._bad_validation.update(batch)
                first = batch if first is None else first
                inputs = self._autoencoder.validation_inputs(batch, number, rows)
                loss, counted = self._mean_loss(parameters, put_batch(inputs, self._mesh))
                total, weight = total + float(loss), weight + float(counted)
        self._bad_validation.share()
        if first is not None:
            self._draw_samples(parameters, first["image"], step)
        values = {"validation": {"loss": total / max(weight, 1.0)}}
        if step == self._config.steps and self._config.autoencoder == "mae":
            checked = check_reconstructions(
                functools.partial(self._reconstruct, parameters),
                self.dataset,
                self.validation,
                self._config,
                self._mesh,
                self.workers,
                self._workdir,
            )
            values |= {SPLIT: checked} if checked else {}
        return values

    def _weighted_loss(self, parameters: PyTree, batch: Mapping[str, Array]):
        gathered = all_gather_parameters(parameters, self._mesh)
        losses = self._autoencoder.losses(gathered, batch)
        return jnp.sum(losses * batch["weight"]), jnp.sum(batch["weight"])

    def _draw_samples(self, parameters: PyTree, images: np.ndarray, step: int):
        some = images[: padded_batch_size(SAMPLES, self._mesh)]
        on_devices = put_batch({"image": some}, self._mesh)["image"]
        reconstructed, residual = map(all_rows, self._reconstruct(parameters, on_devices))
        if jax.process_index() != 0:
            return
        shown = images[:SAMPLES]
        columns = {
            **self._autoencoder.sample_columns(shown),
            self._autoencoder.title: [image_pixels(image) for image in reconstructed],
            f"residual x {self._config.blocks.alpha:g}": [residual_pixels(r) for r in residual],
        }
        rows = [[column[i] for column in columns.values()] for i in range(len(shown))]
        note = synthetic_data_note(self.validation.examples)
        file = self._workdir / "samples" / f"{step:06d}.png"
        contact_sheet(file, rows, list(columns), note=note)


def load_reals(specs: str | tuple[str, ...], default_split: str) -> Dataset:
    """The reals of the named data; the number of fakes that are left out is logged.

    Raises:
      UserError: no real image in it.
    """
    dataset = load_dataset(specs, default_split=default_split, weighted=default_split == "train")
    reals = keep_reals(dataset)
    left_out = len(dataset.examples) - len(reals.examples)
    if not reals.examples:
        raise UserError(
            f"{specs} holds no real image, and pretraining is for real faces only; name other data"
        )
    if left_out:
        log.info("left out %d fakes of %s: pretraining is for real faces only", left_out, specs)
    for line in describe_frames_as_crops(reals.examples):
        log.warning("%s", line)
    return reals
