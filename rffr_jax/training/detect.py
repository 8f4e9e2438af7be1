"""Job `detect`: the two-branch detector learns from original and residual blocks (section 3.3)."""

import dataclasses
import json
import logging
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from rffr_jax.cluster import processes
from rffr_jax.cluster.agreement import require_same_data
from rffr_jax.cluster.sharding import make_mesh, on_mesh, rows_of_process
from rffr_jax.config import Config
from rffr_jax.data.pipeline import Batch
from rffr_jax.data.specs import load_dataset, refuse_other_preparation
from rffr_jax.errors import UserError
from rffr_jax.evaluation import metrics
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.results import against_all_reals
from rffr_jax.evaluation.scoring import PreparedSet, Scorer
from rffr_jax.examples import FAKE, Dataset, Example
from rffr_jax.method.blocks import count_distribution, count_quantiles, draw_blocks, draw_order
from rffr_jax.method.detection import AUTOENCODERS, Detection, DetectionSettings
from rffr_jax.method.kept_residuals import KeptResiduals, shared_folder
from rffr_jax.models.sizes import ModelSettings, UNetSettings, XceptionSettings, compute_dtype
from rffr_jax.runs.checkpoints.run_state import refuse_other_settings
from rffr_jax.runs.checkpoints.weights import (
    BEST,
    FROZEN,
    best_name,
    load_weights,
    read_about,
    save_weights,
    warn_of_normalised_targets,
)
from rffr_jax.runs.whole_files import write_json
from rffr_jax.runs.workdir import has_begun, held, refuse_other_config, write_config
from rffr_jax.training.loop import check_settings, train
from rffr_jax.training.model_card import write_model_card
from rffr_jax.training.sources import (
    Sources,
    keep_mae_sources,
    keep_sources,
    keep_validation_sources,
    merged,
    recorded_sources,
)
from rffr_jax.training.starting_weights import check_branches, started_branches
from rffr_jax.training.step import check_micro_batches
from rffr_jax.training.training_residuals import TrainingResiduals, worth_keeping
from rffr_jax.training.training_set import training_set

log = logging.getLogger(__name__)

SELECTIONS = ("last", "source", "oracle", "transfer")
BACKBONES = ("vit", "xception")
SMALLEST_GROUP = 4  # fewer quantiles say too little of the number of blocks


def run(config: Config, workdir: pathlib.Path):
    """Trains a detector as `config` says; writes checkpoints, bests, metrics and a model card."""
    mesh = make_mesh(config.mesh.fsdp)
    objective = DetectorTraining(config, workdir, mesh)
    check_settings(objective, config, mesh)
    require_same_data(train=objective.dataset, **objective.validation)
    with held(workdir):
        refuse_other_config(workdir, config, begun=has_begun(workdir))
        refuse_other_settings(workdir, objective.about)
        objective.keep_frozen()
        write_config(workdir, config)
        keep_sources(workdir, objective.dataset, earlier={})
        keep_mae_sources(workdir, objective.mae_sources)
        keep_validation_sources(workdir, objective.validation)
        objective.log_counts()
        train(objective, config, workdir, mesh)
        write_model_card(
            workdir,
            config,
            objective.about,
            objective.dataset,
            objective.validation,
            objective.mae_sources,
        )
    log.info("training done; measure it with --config.detector=%s", workdir)


class DetectorTraining:
    """Cross-entropy on batches that are half real, half fake (equation 7)."""

    balanced = True

    def __init__(self, config: Config, workdir: pathlib.Path, mesh: Mesh):
        if config.selection not in SELECTIONS:
            raise UserError(
                f"selection={config.selection!r} is not known; choose one of "
                f"{', '.join(SELECTIONS)}"
            )
        self._config, self._workdir, self._mesh = config, workdir, mesh
        rows_of_process(config.batch_size, mesh)
        check_micro_batches(config, mesh)
        self._parts = mesh.size * config.micro_batches
        dtype = compute_dtype(config.dtype)
        settings, self._frozen_about = detection_settings(config)
        if settings.xception:
            _refuse_for_xception(config)
        self._detection = Detection(settings, dtype, remat=config.remat)
        blocks = config.blocks
        self._counts: tuple[int, ...] = ()
        share = 1.0
        if settings.blocks == "random":
            chances = count_distribution(
                self._detection.blocks.count, blocks.probability, blocks.on_empty
            )
            group = fitting_group(blocks.group, config.batch_size, self._parts)
            self._counts = count_quantiles(chances, group)
            drawn = float(chances @ np.arange(len(chances)))
            share = drawn / len(self._detection.blocks.passes)

        # ---- data
        self.dataset, preparations, self_blending = training_set(config)
        self.validation = _named_sets(config.data.validation, preparations)
        if config.selection != "last" and not self.validation:
            raise UserError(f"selection={config.selection} needs data.validation sets")
        if config.selection != "last":
            _refuse_equal_names(self.validation)

        # ---- the frozen MAE or UNet, and a MAE that the branches start from
        self.frozen: PyTree = {}
        self.mae_sources: Sources = {}
        if settings.autoencoder:
            folder = pathlib.Path(config.mae)
            self.frozen = load_weights(folder, "mae", self._detection.abstract_frozen, mesh)
            self.mae_sources = recorded_sources(folder)
        if config.detector.init and not has_begun(workdir):
            folder = pathlib.Path(config.detector.init)
            check_branches(folder, settings)
            self.mae_sources = merged(self.mae_sources, recorded_sources(folder))

        kept = KeptResiduals(
            self._detection,
            self.frozen,
            mesh,
            folder=shared_folder(config.residuals.folder, workdir),
            memory_gb=config.residuals.memory_gb,
        )
        self._scorer = Scorer(
            self._detection,
            self.frozen,
            mesh,
            batch_size=config.evaluation_batch_size,
            workers=config.data.workers,
            max_bad_fraction=config.data.max_bad_fraction,
            kept=kept,
        )
        self._prepared: dict[str, PreparedSet] = {}
        self._bests: dict[str, Any] | None = None
        self._residuals: TrainingResiduals | None = None
        keep = settings.needs_mae and worth_keeping(
            config.residuals.training,
            draws=config.steps * config.batch_size,
            share=share,
            images=len(self.dataset.examples),
        )
        if keep and not self_blending:  # of which no two are alike
            self._residuals = TrainingResiduals(kept, self._detection, self.dataset, config)
        self.about = {
            "kind": "detector",
            "detection": settings.to_json(),
            "trained_methods": _fake_methods(self.dataset.examples),
            "trained_datasets": sorted({e.dataset for e in self.dataset.examples}),
            "preparations": preparations,
            **self_blending,
        }

    def keep_frozen(self):
        """Copies the frozen MAE or UNet into the workdir, so that a detector works alone.

        Raises:
          UserError: the run was begun with other weights.
        """
        if not has_begun(self._workdir) and processes.is_first():
            (self._workdir / "best.json").unlink(missing_ok=True)  # of a run that never began
        kind = self._detection.settings.autoencoder
        if not kind:
            return
        folder = self._workdir / FROZEN[kind]
        if not has_begun(self._workdir):
            save_weights(folder, 0, self.frozen, self._frozen_about)
            return
        kept = load_weights(folder, "mae", self._detection.abstract_frozen, self._mesh)
        same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), kept, self.frozen)
        if not all(jax.tree.leaves(same)):
            raise UserError(
                f"mae={self._config.mae} is not the {AUTOENCODERS[kind]} that {self._workdir} was "
                f"begun with; go on with --config.mae={folder}, or choose another --workdir"
            )

    def log_counts(self):
        """Says how many blocks the images of a group get, and if that is coarser than asked for."""
        if not self._counts:
            return
        group, asked = len(self._counts), self._config.blocks.group
        log.info("numbers of blocks in each %d images: %s", group, " ".join(map(str, self._counts)))
        if group < asked:
            log.warning(
                "%d images at a time on each of %d devices: the numbers of blocks are %d quantiles "
                "instead of blocks.group=%d, a coarser distribution; --config.batch_size=%d keeps "
                "them",
                self._config.batch_size // self._parts,
                self._mesh.size,
                group,
                asked,
                _batch_for(asked, self._config.batch_size, self._parts),
            )

    def fresh_parameters(self) -> PyTree:
        """Random weights; traced for their shapes, too."""
        return self._detection.initial_parameters(self._config.seed)

    def starting_parameters(self) -> PyTree:
        """Fresh weights, with every branch started from what `detector.init` names."""
        parameters = on_mesh(self.fresh_parameters, self._mesh)
        if not self._config.detector.init:
            return parameters
        folder = pathlib.Path(self._config.detector.init)
        return started_branches(folder, parameters, self._detection.settings, self._mesh)

    def inputs(self, step: int, batch: Batch, rows: slice) -> Batch:
        """Images and labels; for random blocks the chosen ones, and rows dealt out to counts.

        Where the residuals of training images are kept, those that the step needs come along.
        """
        blocks = None
        if self._counts:
            seed, size = self._config.seed, self._config.batch_size
            order = draw_order(len(self._counts), seed, step, size)[rows] - rows.start
            total, most = self._detection.blocks.count, max(self._counts)
            blocks = draw_blocks(total, most, seed, step, size)[rows]
            batch = {name: array[order] for name, array in batch.items()}
        inputs = {name: batch[name] for name in ("image", "label", "weight")}
        if blocks is not None:
            inputs["blocks"] = blocks
        if self._residuals is not None:
            inputs["difference"] = self._residuals.of(batch["index"], batch["weight"], blocks)
        return inputs

    def losses(
        self, parameters: PyTree, frozen: PyTree, batch: Mapping[str, Array]
    ) -> tuple[Float[Array, " batch"], PyTree]:
        """Cross-entropy of each image, and running statistics if the detector has any."""
        logits, statistics = self._detection.train_logits(
            parameters,
            frozen,
            batch["image"],
            batch.get("blocks"),
            self._counts,
            batch.get("difference"),
            batch["weight"],
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses, statistics

    def evaluate(self, parameters: PyTree, step: int) -> dict[str, dict[str, float]]:
        """AUC of every validation set and method; keeps the weights wherever one improves."""
        values: dict[str, dict[str, float]] = {}
        for name, dataset in self.validation.items():
            if name not in self._prepared:
                self._prepared[name] = self._scorer.prepare(dataset)
            predictions = self._scorer.score(parameters, self._prepared[name])
            metrics.require_both_classes(predictions.labels, name)
            parts = {"auc": (best_name(name), predictions)}
            for method in _fake_methods(predictions.examples):
                part = against_all_reals(predictions, method)
                parts[f"auc_{method}"] = (best_name(name, method), part)
            values[name] = {}
            for metric, (best, part) in parts.items():
                values[name][metric] = metrics.auc(part.labels, part.scores)
                if self._config.selection != "last":
                    self._keep_best(best, part, values[name][metric], parameters, step)
        return values

    def _keep_best(self, name: str, part: Predictions, auc: float, parameters: PyTree, step: int):
        record = self._workdir / "best.json"
        bests = self._bests
        if bests is None:
            there = json.loads(record.read_text()) if record.exists() else {}
            bests = self._bests = processes.of_everyone(there)[0]
        if name in bests and bests[name]["step"] < step and bests[name]["auc"] >= auc:
            return
        save_weights(self._workdir / BEST / name, step, parameters, self.about)
        bests[name] = {
            "auc": auc,
            "step": step,
            "datasets": sorted({example.dataset for example in part.examples}),
            "methods": _fake_methods(part.examples),
        }
        if processes.is_first():
            write_json(record, bests)


def fitting_group(group: int, batch_size: int, parts: int) -> int:
    """How many images of a batch share the quantiles of the number of blocks.

    The largest number up to `group` that divides the images that a device works on at a time.

    Args:
      parts: of a batch: devices times micro-batches.

    Raises:
      UserError: it would be less than `group` and less than `SMALLEST_GROUP`.
    """
    share = batch_size // parts
    fitting = max(n for n in range(1, min(group, share) + 1) if share % n == 0)
    if fitting < min(group, SMALLEST_GROUP):
        fits = _batch_for(group, batch_size, parts)
        raise UserError(
            f"batch_size={batch_size} gives each of {parts} parts (devices x micro_batches) "
            f"{share} images, which do not fit blocks.group={group}; set "
            f"--config.batch_size={fits}"
        )
    return fitting


def _batch_for(group: int, batch_size: int, parts: int) -> int:
    """The smallest even batch from `batch_size` up in which every part gets whole groups."""
    step = math.lcm(2, group * parts)
    return -(-batch_size // step) * step


def detection_settings(config: Config) -> tuple[DetectionSettings, dict[str, Any]]:
    """The detector that a config asks for, and what its MAE or UNet says of itself ({} without).

    Raises:
      UserError: unknown settings, or a MAE or UNet that is missing or does not fit.
    """
    detector = config.detector
    if detector.backbone not in BACKBONES:
        raise UserError(
            f"detector.backbone={detector.backbone!r} is not known; choose {' or '.join(BACKBONES)}"
        )
    xception = None
    if detector.backbone == "xception":
        xception = XceptionSettings(**config.xception.to_dict())
    settings = DetectionSettings(
        model=ModelSettings(**config.model.to_dict()),
        mae=None,
        inputs=detector.inputs,
        blocks=detector.blocks,
        residual=detector.residual,
        k=config.blocks.k,
        alpha=config.blocks.alpha,
        mean=tuple(detector.mean),
        std=tuple(detector.std),
        blocks_per_pass=config.blocks.blocks_per_pass,
        xception=xception,
    )
    if not settings.autoencoder:
        return settings, {}
    about = read_about(pathlib.Path(config.mae), "mae", "mae", "unet")
    if about["kind"] != settings.autoencoder:
        raise UserError(
            f"mae={config.mae} holds a {about['kind']} checkpoint and detector.residual is "
            f"{settings.residual!r}; name another checkpoint, or set "
            f"--config.detector.residual={about['kind']}"
        )
    if about["kind"] == "unet":
        unet = UNetSettings(**about["model"])
        if unet.image_size != settings.model.image_size:
            raise UserError(
                f"mae={config.mae} reads {unet.image_size} px images, the detector "
                f"{settings.model.image_size} px; make model.image_size the same"
            )
        return dataclasses.replace(settings, unet=unet), about
    warn_of_normalised_targets(about, f"mae={config.mae}")
    mae = ModelSettings(**about["model"])
    same_grid = (mae.image_size, mae.patch_size) == (
        settings.model.image_size,
        settings.model.patch_size,
    )
    if not same_grid:
        raise UserError(
            f"mae={config.mae} reads {mae.image_size} px images in {mae.patch_size} px patches, "
            f"the detector {settings.model.image_size} px in {settings.model.patch_size} px; "
            "make model.image_size and model.patch_size the same"
        )
    if about["k"] not in (None, settings.k) and not config.allow_other_k:
        raise UserError(
            f"mae={config.mae} was pretrained with k={about['k']} and blocks.k={settings.k}; set "
            f"--config.blocks.k={about['k']}, or --config.allow_other_k to use it all the same"
        )
    return dataclasses.replace(settings, mae=mae), about


def _refuse_for_xception(config: Config):
    """Raises: UserError for settings that only a ViT has."""
    if config.detector.init:
        raise UserError(
            f"detector.init={config.detector.init} is for the branches of a ViT; leave it empty "
            "with detector.backbone='xception'"
        )
    if config.remat:
        raise UserError("remat=True is for a ViT; leave it out with detector.backbone='xception'")


def _fake_methods(examples: Sequence[Example]) -> list[str]:
    return sorted({example.method for example in examples if example.label == FAKE})


def _refuse_equal_names(validation: Mapping[str, Dataset]):
    """Raises: UserError if the best weights of two curves would have one name."""
    curves: dict[str, str] = {}
    for name, dataset in validation.items():
        for method in ("", *_fake_methods(dataset.examples)):
            best = best_name(name, method)
            curve = f"method '{method}' of '{name}'" if method else f"'{name}'"
            if best in curves:
                raise UserError(
                    f"data.validation: the best weights for {curves[best]} and for {curve} would "
                    f"both be named {best}; call a data set or a method otherwise"
                )
            curves[best] = curve


def _named_sets(specs: tuple[str, ...] | str, trained: list[dict[str, Any]]) -> dict[str, Dataset]:
    """Validation sets by the name of their data; a second set of one name gets a number.

    Args:
      trained: how the faces of the training data were prepared.
    """
    named: dict[str, Dataset] = {}
    for spec in (specs,) if isinstance(specs, str) else specs:
        dataset = load_dataset(spec, default_split="validation")
        refuse_other_preparation(trained, spec, dataset, "data.validation")
        metrics.require_both_classes(
            np.array([example.label for example in dataset.examples]), spec
        )
        base = "+".join(sorted({example.dataset for example in dataset.examples}))
        name, number = base, 1
        while name in named:
            number += 1
            name = f"{base}-{number}"
        named[name] = dataset
    return named
