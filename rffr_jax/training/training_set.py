"""The training set of a detector: given reals and fakes, or reals and self-blended fakes."""

import logging
import socket
from typing import Any

from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.loading import AUTO, Loading, choose_loading
from rffr_jax.data.readers.prepared import collect_preparations
from rffr_jax.data.selection import keep_methods, keep_reals
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset
from rffr_jax.faces.frames_as_crops import describe_frames_as_crops

log = logging.getLogger(__name__)

GIVEN, SELF_BLENDED = "given", "self_blended"


def loading_of(
    dataset: Dataset, config: Config, *, size: int | None = None, blended: bool = False
) -> Loading:
    """How a training reads its data; all processes come by here together.

    Args:
      size: at which images are kept, where that is not the model's.
      blended: whether all images are made anew for each row.
    """
    machine = socket.gethostname()
    loading = choose_loading(
        dataset,
        size or config.model.image_size,
        workers=config.data.workers,
        cache=config.data.cache,
        batches=config.steps,
        batch_size=config.batch_size,
        processes=processes.all_gather_objects(machine).count(machine),
        blended=blended,
    )
    if loading.workers and config.data.workers == AUTO:
        log.info("data.workers=auto: %d processes make the images", loading.workers)
    return loading


def load_training_set(
    config: Config,
) -> tuple[CachedDataset | SelfBlendedPairs, int, list[dict[str, Any]], dict[str, Any]]:
    """The images that a detector learns from.

    Returns:
      The data set; the number of processes that read it; how its faces were prepared
      (`collect_preparations`); and, where its fakes are self-blended, `{"self_blending": ...}`:
      what a checkpoint says of that.

    Raises:
      UserError: the data or the settings of its fakes do not fit.
    """
    data, size = config.data, config.model.image_size
    if data.fakes not in (GIVEN, SELF_BLENDED):
        raise UserError(f"data.fakes={data.fakes!r} is not known; choose {GIVEN} or {SELF_BLENDED}")
    if data.fakes == GIVEN:
        dataset = keep_methods(load_dataset(data.train), data.methods, where="data.methods")
        for line in describe_frames_as_crops(dataset.examples):
            log.warning("data.train: %s", line)
        loading = loading_of(dataset, config)
        kept = CachedDataset(dataset, size, keep_pixels=loading.keep_pixels)
        return kept, loading.workers, collect_preparations(dataset), {}
    if data.methods:
        raise UserError(
            f"data.methods chooses given fakes, and data.fakes={SELF_BLENDED} uses none; leave "
            "one of them out"
        )
    if config.residuals.training == "always":
        raise UserError(
            "residuals.training=always keeps the residuals of training images, and "
            f"data.fakes={SELF_BLENDED} makes new ones at every step; leave one of them out"
        )
    given = load_dataset(data.train)
    reals = keep_reals(given)
    for line in describe_frames_as_crops(reals.examples):
        log.warning("data.train: %s", line)
    left_out = len(given.examples) - len(reals.examples)
    loading = loading_of(reals, config, blended=True)
    pairs = SelfBlendedPairs(
        CachedDataset(reals, size, keep_pixels=loading.keep_pixels),
        config.seed,
        post_augmentation=data.post_augmentation,
    )
    log.info(
        "fakes are self-blended from %d reals (%d with 68 landmarks, %d with a template fitted to "
        "five: approximate); %d given fakes are not used",
        pairs.count,
        pairs.landmark_counts["own"],
        pairs.landmark_counts["approximate template"],
        left_out,
    )
    about = {"landmarks": pairs.landmark_counts, "post_augmentation": data.post_augmentation}
    return pairs, loading.workers, collect_preparations(reals), {"self_blending": about}
