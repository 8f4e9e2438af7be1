"""The detector settings of a config, checked, and the numbers of blocks of its images."""

import dataclasses
import logging
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from rffr_jax.config import Config
from rffr_jax.errors import UserError
from rffr_jax.method.autoencoder_checkpoint import read_autoencoder
from rffr_jax.method.blocks import BlockGrid, count_distribution, count_quantiles
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.pretrained_backbone import PretrainedBackbone, read_backbone
from rffr_jax.models.sizes import ModelSettings, UNetSettings
from rffr_jax.rivals import VIT, find_rival, rival_settings
from rffr_jax.runs.checkpoints.names import FROZEN
from rffr_jax.runs.checkpoints.weights import is_checkpoint, warn_of_normalised_targets
from rffr_jax.runs.model_names import folder_of_model

log = logging.getLogger(__name__)

SMALLEST_GROUP = 4  # fewer quantiles are too coarse


def detection_settings(config: Config) -> tuple[DetectionSettings, dict[str, Any]]:
    """The settings of a config's detector, and what its residuals come from ({} without anything).

    Raises:
      UserError: unknown settings, or a MAE, UNet or ridge that is missing or does not fit.
    """
    detector = config.detector
    if detector.patch_loss < 0:
        raise UserError(
            f"detector.patch_loss={detector.patch_loss} is the weight of a loss; 0 is without it"
        )
    model, k, rival, backbone = config.model.to_dict(), config.blocks.k, None, None
    mean, std = tuple(detector.mean), tuple(detector.std)
    if config.backbone.weights:
        backbone = configured_backbone(config)
        mean, std = backbone.mean, backbone.std
    rate = config.optimizer.backbone_learning_rate
    if rate and (backbone is None or detector.train == "head"):
        raise UserError(
            f"optimizer.backbone_learning_rate={rate} is for a pretrained backbone of which "
            "something is trained; name one with --config.backbone.weights and "
            "--config.detector.train=norms, or leave it 0"
        )
    if detector.backbone != VIT:
        rival = rival_settings(detector.backbone, config.rival.to_dict())
        _refuse_for_rival(config)
        model |= {"patch_size": config.model.image_size}
        k = 1
    settings = DetectionSettings(
        model=ModelSettings(**model),
        mae=None,
        inputs=detector.inputs,
        blocks=detector.blocks,
        residual=detector.residual,
        k=k,
        alpha=config.blocks.alpha,
        mean=mean,
        std=std,
        blocks_per_pass=config.blocks.blocks_per_pass,
        backbone=detector.backbone,
        rival=rival,
        embedding=detector.embedding,
        patch_head=detector.patch_loss > 0,
        pretrained=backbone and backbone.settings,
        train=detector.train,
    )
    if not settings.autoencoder:
        return settings, {}
    if settings.autoencoder == "ridge":
        return _with_ridge(config, settings)
    about = read_autoencoder(folder_of_model(config.mae, "mae"), "mae", "mae", "unet")
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


def configured_backbone(config: Config) -> PretrainedBackbone:
    """The pretrained backbone that a config names.

    Raises:
      UserError: there is none in its folder, or its patches do not fill the image.
    """
    folder = folder_of_model(config.backbone.weights, "backbone.weights")
    return read_backbone(folder, config.backbone.image_size)


def autoencoder_folder(config: Config, kind: str) -> pathlib.Path:
    """Where the weights of a detector's residuals lie: a MAE's workdir holds its ridge, too."""
    folder = folder_of_model(config.mae, "mae")
    inside = folder / FROZEN["ridge"]
    return inside if kind == "ridge" and is_checkpoint(inside) else folder


def _with_ridge(
    config: Config, settings: DetectionSettings
) -> tuple[DetectionSettings, dict[str, Any]]:
    folder = autoencoder_folder(config, "ridge")
    about = read_autoencoder(folder, "mae", "mae", "ridge")
    if about["kind"] == "mae":
        raise UserError(
            f"mae={config.mae} holds no ridge regression, which a finished job pretrain leaves in "
            f"its workdir ({FROZEN['ridge']}); name such a workdir"
        )
    model = settings.model
    there = (about["model"]["image_size"], about["model"]["patch_size"], about["k"])
    if there != (model.image_size, model.patch_size, settings.k):
        raise UserError(
            "mae={} holds a ridge regression for {} px images, {} px patches and k={}; make "
            "model.image_size, model.patch_size and blocks.k the same".format(config.mae, *there)
        )
    return dataclasses.replace(settings, ridge_rank=about["rank"]), about


def _refuse_for_rival(config: Config):
    """Raises: UserError for settings that the rival or its losses do not have."""
    backbone = config.detector.backbone
    leave = f"is for the two-branch detector; leave it out with detector.backbone={backbone!r}"
    for name, default in (("embedding", "linear"), ("patch_loss", 0.0)):
        if config.detector[name] != default:
            raise UserError(f"detector.{name}={config.detector[name]} {leave}")
    if config.remat:
        raise UserError(f"remat=True {leave}")
    if config.micro_batches > 1 and find_rival(backbone).Detector.losses_of_batch:
        raise UserError(
            f"micro_batches={config.micro_batches} would change the losses of detector.backbone="
            f"{backbone!r}, which are of the whole batch; set "
            "--config.micro_batches=1, with a smaller batch_size if memory is short"
        )


def block_counts(config: Config, blocks: BlockGrid, parts: int) -> tuple[tuple[int, ...], float]:
    """Numbers of random blocks in every group of images, and the mean share of MAE passes that an
    image needs.

    Args:
      parts: of a batch: devices times micro-batches.

    Raises:
      UserError: the batch does not fit the groups.
    """
    chances = count_distribution(blocks.count, config.blocks.probability, config.blocks.on_empty)
    group = group_size(config.blocks.group, config.batch_size, parts)
    drawn = float(chances @ np.arange(len(chances)))
    return count_quantiles(chances, group), drawn / len(blocks.passes)


def log_counts(counts: Sequence[int], config: Config, devices: int):
    """Logs the numbers of blocks in a group; warns if they are coarser than `blocks.group`.

    Args:
      counts: from `block_counts`; empty without random blocks.
    """
    if not counts:
        return
    group, asked = len(counts), config.blocks.group
    log.info("numbers of blocks in each %d images: %s", group, " ".join(map(str, counts)))
    if group < asked:
        parts = devices * config.micro_batches
        log.warning(
            "%d images at a time on each of %d devices: the numbers of blocks are %d quantiles "
            "instead of blocks.group=%d, a coarser distribution; --config.batch_size=%d keeps "
            "them",
            config.batch_size // parts,
            devices,
            group,
            asked,
            smallest_fitting_batch(asked, config.batch_size, parts),
        )


def group_size(group: int, batch_size: int, parts: int) -> int:
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
        fits = smallest_fitting_batch(group, batch_size, parts)
        raise UserError(
            f"batch_size={batch_size} gives each of {parts} parts (devices x micro_batches) "
            f"{share} images, which do not fit blocks.group={group}; set "
            f"--config.batch_size={fits}"
        )
    return fitting


def smallest_fitting_batch(group: int, batch_size: int, parts: int) -> int:
    """The smallest even batch from `batch_size` up in which every part gets whole groups."""
    step = math.lcm(2, group * parts)
    return -(-batch_size // step) * step
