"""Job `detect`: the two-branch detector learns from original and residual blocks (section 3.3)."""

import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from rffr_jax.cluster import processes
from rffr_jax.cluster.agreement import require_same_data
from rffr_jax.cluster.sharding import init_sharded, make_mesh, rows_of_process
from rffr_jax.config import Config
from rffr_jax.data.augmentation import AugmentedDataset
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.origin_records import (
    read_sources,
    start_image_records,
    write_mae_sources,
    write_training_images,
    write_training_sources,
    write_validation_sources,
)
from rffr_jax.data.origins import Origins
from rffr_jax.data.pipeline import Batch
from rffr_jax.data.preparations import check_same_preparation
from rffr_jax.data.sampling import image_seeds
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.shortcuts import shortcut_warnings
from rffr_jax.data.specs import as_tuple, load_dataset
from rffr_jax.errors import UserError
from rffr_jax.evaluation.scoring import Scorer
from rffr_jax.method.array_cache import shared_folder
from rffr_jax.method.blocks import sample_blocks, sample_order
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import AUTOENCODERS
from rffr_jax.method.patch_loss import patch_losses
from rffr_jax.method.residual_cache import ResidualCache
from rffr_jax.models.sizes import compute_dtype
from rffr_jax.rivals import find_rival
from rffr_jax.runs.checkpoints.names import FROZEN
from rffr_jax.runs.checkpoints.run_state import refuse_other_settings
from rffr_jax.runs.checkpoints.weights import load_weights, save_weights
from rffr_jax.runs.inventory import warn_if_data_changed
from rffr_jax.runs.model_folder import is_model_folder
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.workdir import has_saved_state, locked_workdir, refuse_other_config, write_config
from rffr_jax.training.detector_settings import (
    autoencoder_folder,
    block_counts,
    configured_backbone,
    detection_settings,
    log_counts,
)
from rffr_jax.training.initial_weights import (
    check_start,
    init_detector,
    init_from_backbone,
    init_from_detector,
    log_random_start,
    read_initial_detector,
)
from rffr_jax.training.loop import Objective, check_settings, train
from rffr_jax.training.model_card import write_model_card
from rffr_jax.training.reconstruction_check import (
    read_reconstruction_check,
    warn_of_weak_mae,
)
from rffr_jax.training.reference_check import FILE as REFERENCE_CHECK
from rffr_jax.training.reference_check import check_against_reference
from rffr_jax.training.step import RowLosses, check_micro_batches
from rffr_jax.training.training_cache import make_training_cache
from rffr_jax.training.training_set import load_training_set
from rffr_jax.training.validation import (
    Validation,
    check_selection,
    fake_methods,
    load_validation_sets,
)

log = logging.getLogger(__name__)


def run(config: Config, workdir: pathlib.Path):
    """Trains a detector as `config` says; writes checkpoints, bests, metrics and a model card."""
    mesh = make_mesh(config.mesh.fsdp)
    objective = DetectorTraining(config, workdir, mesh)
    check_settings(objective, config, mesh)
    require_same_data(train=objective.originals, **objective.validation)
    with locked_workdir(workdir):
        refuse_other_config(workdir, config, begun=has_saved_state(workdir))
        refuse_other_settings(workdir, objective.about)
        objective.save_frozen()
        validation = {f"data.validation {name}": d for name, d in objective.validation.items()}
        warn_if_data_changed(workdir, {"data.train": objective.originals, **validation})
        write_config(workdir, config)
        write_training_sources(workdir, objective.originals, objective.earlier_sources)
        write_mae_sources(workdir, objective.mae_sources)
        start_image_records(
            workdir,
            objective.pretrained,
            folder_of_model(config.init_from, "init_from") if config.init_from else None,
        )
        write_validation_sources(workdir, objective.validation)
        log_counts(objective.counts, config, mesh.size)
        shortcuts = []
        if processes.is_main_process():
            shortcuts = shortcut_warnings(objective.originals.examples)
        for shortcut in shortcuts:
            log.warning("data.train: %s", shortcut)
        mae_check = {}
        from_mae = (
            objective.frozen["autoencoder"] and objective.about["detection"]["residual"] == "mae"
        )
        if from_mae and not config.init_from:
            mae_check = read_reconstruction_check(folder_of_model(config.mae, "mae"))
            warn_of_weak_mae(config.mae, mae_check)
        train(objective, config, workdir, mesh)
        reference_check = {}
        if processes.is_main_process():
            reference_check = check_against_reference(
                objective.originals, objective.validation, config.model.image_size, workdir
            )
        write_model_card(
            workdir,
            config,
            objective.about,
            objective.originals,
            objective.validation,
            objective.mae_sources,
            shortcuts,
            mae_check,
            reference_check,
        )
    log.info("training done; measure it with --config.detector=%s", workdir)


class DetectorTraining(Objective):
    """Cross-entropy (equation 7), or a rival's losses, on batches that are half real, half fake.

    Attributes:
      originals: the training images before anything is done to them.
      counts: number of random blocks of each image, repeated every len(counts) images; () where
        blocks are not random.
      autoencoder: its weights in the type that they are stored in; {} without an autoencoder, and
        after `save_frozen`: then `frozen` has them, in the compute type.
      pretrained: folders of its MAE or UNet, and of weights that this run begins with.
      mae_sources: origins of the data that these were trained on.
      earlier_sources: the same of the detector in `init_from`.
    """

    balanced = True
    dataset: CachedDataset | AugmentedDataset | SelfBlendedPairs

    def __init__(self, config: Config, workdir: pathlib.Path, mesh: Mesh):
        self._config, self._workdir, self._mesh = config, workdir, mesh
        rows_of_process(config.batch_size, mesh)
        check_micro_batches(config, mesh)
        self.pairs = config.data.pairs
        if config.detector.patch_loss:
            self.loss_names = ("loss", "patch_loss")
            self.mask_patch = config.model.patch_size
        dtype = compute_dtype(config.dtype)
        settings, self._frozen_about = detection_settings(config)
        self._detection = Detection(settings, dtype, remat=config.remat)
        if settings.is_rival:
            self.loss_names = find_rival(settings.backbone).Detector.loss_names
        self._started_from: dict[str, Any] = {}
        if config.init_from:
            self._init_from = folder_of_model(config.init_from, "init_from")
            self._started_from = read_initial_detector(self._init_from, settings)
            self.evaluates_start = True
            model, reads = settings.model, settings.inputs
            size = f"{model.size}, {model.image_size} px, patches of {model.patch_size} px"
            if settings.is_rival:
                size = f"{settings.backbone}, {model.image_size} px"
            log.info("init_from=%s: a detector, %s, reads %s", config.init_from, size, reads)
        self.counts: tuple[int, ...] = ()
        share = 1.0
        if settings.blocks == "random":
            parts = mesh.size * config.micro_batches
            self.counts, share = block_counts(config, self._detection.blocks, parts)

        # ---- data
        training = load_training_set(config)
        self.dataset, self.workers = training.dataset, training.workers
        self.originals = training.originals
        preparations = training.preparations
        if self._started_from:
            earlier = self._started_from["preparations"]
            for spec in as_tuple(config.data.train) if preparations else ():
                check_same_preparation(earlier, spec, load_dataset(spec), "data.train")
            preparations = preparations or earlier
        self.validation = load_validation_sets(config.data.validation, preparations)
        check_selection(config.selection, self.validation)

        # ---- what residuals come from, frozen, and a MAE that the branches start from
        self.autoencoder: PyTree = {}
        self.pretrained: list[pathlib.Path] = []
        if settings.autoencoder:
            folder = autoencoder_folder(config, settings.autoencoder)
            self.autoencoder = load_weights(
                folder, "mae", self._detection.abstract_frozen, mesh, part=settings.autoencoder
            )
            self.pretrained.append(folder_of_model(config.mae, "mae"))
        if config.detector.init and not has_saved_state(workdir):
            self.pretrained.append(folder_of_model(config.detector.init, "detector.init"))
            check_start(self.pretrained[-1], settings)
        self._backbone, digest = {}, ""
        if settings.is_frozen_in_part or (settings.pretrained and not has_saved_state(workdir)):
            backbone = configured_backbone(config)
            self._backbone, digest = backbone.load(mesh)
            if not has_saved_state(workdir):
                self.pretrained.append(backbone.folder)
        self.mae_sources = Origins().union(*map(read_sources, self.pretrained))
        frozen_backbone = self._backbone if settings.is_frozen_in_part else {}
        held = self._detection.in_compute_type(self.autoencoder)
        self.frozen = {"autoencoder": held, "backbone": frozen_backbone}
        self.earlier_sources = Origins()
        if self._started_from and not has_saved_state(workdir):
            self.earlier_sources = read_sources(self._init_from)

        kept = ResidualCache(
            self._detection,
            held,
            mesh,
            folder=shared_folder(config.residuals.folder, workdir),
            memory_gb=config.residuals.memory_gb,
        )
        scorer = Scorer(
            self._detection,
            held,
            mesh,
            batch_size=config.evaluation_batch_size,
            workers=self.workers,
            max_bad_fraction=config.data.max_bad_fraction,
            kept=kept,
        )
        self._cache = make_training_cache(
            self.dataset,
            config,
            self._detection,
            kept,
            self.frozen["backbone"],
            mesh,
            share=share,
            workers=self.workers,
        )
        self.about = {
            "kind": "detector",
            "detection": settings.to_json(),
            "trained_methods": self._with_earlier(
                "trained_methods", fake_methods(self.originals.examples)
            ),
            "trained_datasets": self._with_earlier(
                "trained_datasets", [e.dataset for e in self.originals.examples]
            ),
            "preparations": preparations,
            **training.about,
        }
        if settings.is_frozen_in_part:
            self.about["backbone"] = digest
        if self._started_from and (
            is_model_folder(self._init_from) or "unknown_origins" in self._started_from
        ):
            self.about["unknown_origins"] = True
        self._validation = Validation(
            self.validation, scorer, workdir, selection=config.selection, about=self.about
        )

    def _with_earlier(self, entry: str, names: Sequence[str]) -> list[str]:
        """Names of what was trained on, here and by the detector in `init_from`."""
        return sorted({*names, *self._started_from.get(entry, ())})

    def save_frozen(self):
        """Copies what residuals come from into the workdir, so that a detector is complete.

        Raises:
          UserError: the run was begun with other weights.
        """
        if not has_saved_state(self._workdir) and processes.is_main_process():
            for file in ("best.json", REFERENCE_CHECK):  # of a run whose weights are gone
                (self._workdir / file).unlink(missing_ok=True)
        kind = self._detection.settings.autoencoder
        if not kind:
            return
        folder, weights = self._workdir / FROZEN[kind], self.autoencoder
        self.autoencoder = {}
        if not has_saved_state(self._workdir):
            save_weights(folder, 0, weights, self._frozen_about)
            return
        kept = load_weights(folder, "mae", self._detection.abstract_frozen, self._mesh)
        same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), kept, weights)
        if not all(jax.tree.leaves(same)):
            raise UserError(
                f"mae={self._config.mae} is not the {AUTOENCODERS[kind]} that {self._workdir} was "
                f"begun with; continue with --config.mae={folder}, or choose another --workdir"
            )

    def init_parameters(self) -> PyTree:
        """Random weights of all that is trained; traced for their shapes, too."""
        return self._detection.trained_part(self._detection.init_parameters(self._config.seed))

    def load_initial_parameters(self) -> PyTree:
        """Fresh weights, or those of `init_from`, or with some from `detector.init` and
        `backbone.weights`."""
        parameters = init_sharded(self.init_parameters, self._mesh)
        if self._started_from:
            return init_from_detector(self._init_from, self._started_from, parameters, self._mesh)
        name, settings = self._config.detector.init, self._detection.settings
        if name:
            folder = folder_of_model(name, "detector.init")
            parameters = init_detector(folder, parameters, settings, self._mesh)
        elif settings.is_rival:
            log_random_start(settings.backbone)
        if settings.pretrained is not None:
            parameters = init_from_backbone(parameters, self._backbone, settings.train)
            self._backbone = {}
        return parameters

    def prepare_inputs(self):
        """Computes the residuals or features of training images that are kept."""
        if self._cache is not None:
            self._cache.compute()

    def inputs(self, step: int, batch: Batch, rows: slice) -> Batch:
        """Images and labels; with random blocks the chosen ones, and rows in the order of counts.

        Where residuals or features of training images are cached, they are included.
        """
        blocks = None
        if self.counts:
            seed, size = self._config.seed, self._config.batch_size
            order = sample_order(len(self.counts), seed, step, size)[rows] - rows.start
            total, most = self._detection.blocks.count, max(self.counts)
            blocks = sample_blocks(total, most, seed, step, size)[rows]
            batch = {name: array[order] for name, array in batch.items()}
        names = ("image", "label", "weight", *(("mask",) if self.mask_patch else ()))
        inputs = {name: batch[name] for name in names}
        if self._detection.settings.is_rival:
            inputs["seed"] = image_seeds(self._config.seed, step, self._config.batch_size)[rows]
            share = step / self._config.steps
            inputs["progress"] = np.full(len(inputs["seed"]), share, np.float32)
        if blocks is not None:
            inputs["blocks"] = blocks
        if self._cache is not None:
            inputs |= self._cache.inputs(batch["index"], batch["weight"], blocks)
        return inputs

    def losses(
        self, parameters: PyTree, frozen: PyTree, batch: Mapping[str, Array]
    ) -> tuple[RowLosses, PyTree]:
        """Cross-entropy of each image.

        If `detector.patch_loss` is not 0, that of its patches is added, times it. A rival has
        losses of its own, and parameters that follow the batch.
        """
        if self._detection.settings.is_rival:
            return self._detection.rival_losses(
                parameters,
                batch["image"],
                batch["label"],
                batch["weight"],
                batch["seed"],
                jnp.max(batch["progress"]),
            )
        outputs = self._detection.train_logits(
            self._detection.whole(parameters, frozen["backbone"]),
            frozen["autoencoder"],
            batch["image"],
            batch.get("blocks"),
            self.counts,
            batch.get("difference"),
            batch.get("feature"),
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs.logits, batch["label"])
        if outputs.patches is None:
            return {"loss": losses}, {}
        of_patches = patch_losses(outputs.patches, batch["mask"])
        weighted = self._config.detector.patch_loss * of_patches
        return {"loss": losses, "patch_loss": weighted}, {}

    def after_save(self):
        """Records the images that were read so far."""
        write_training_images(self._workdir, self.dataset.hashes)

    def evaluate(self, parameters: PyTree, step: int) -> dict[str, dict[str, float]]:
        """AUC of every validation set and method; keeps the weights wherever one improves."""
        whole = self._detection.whole(parameters, self.frozen["backbone"])
        return self._validation.evaluate(whole, parameters, step)
