"""The training set of a detector: given reals and fakes, or reals and self-blended fakes."""

import dataclasses
import logging
import socket
from typing import Any

from rffr_jax.cluster import processes
from rffr_jax.config import Config
from rffr_jax.data.augmentation import Augmentation, AugmentedDataset
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.captures import Captures
from rffr_jax.data.loading import AUTO, Loading, choose_loading
from rffr_jax.data.pipeline import NEEDS_MASKS
from rffr_jax.data.readers.prepared import collect_preparations
from rffr_jax.data.sampling import originals
from rffr_jax.data.selection import keep_methods, keep_reals
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, Dataset, manipulation_mask
from rffr_jax.faces.frames_as_crops import describe_frames_as_crops

log = logging.getLogger(__name__)

GIVEN, SELF_BLENDED = "given", "self_blended"


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """The images that a detector learns from.

    Attributes:
      dataset: what batches are read from.
      originals: the same before anything is done to it; its examples are what the data are.
      workers: processes that read.
      preparations: how its faces were prepared (`collect_preparations`).
      about: what a checkpoint says of self-blended fakes; {} without them.
    """

    dataset: CachedDataset | AugmentedDataset | SelfBlendedPairs
    originals: Dataset
    workers: int
    preparations: list[dict[str, Any]]
    about: dict[str, Any]


def loading_of(
    dataset: Dataset,
    config: Config,
    *,
    size: int | None = None,
    blended: bool = False,
    captures: int = 0,
) -> Loading:
    """How a training reads its data; all processes come by here together.

    Args:
      size: at which images are kept, where that is not the model's.
      blended: whether all images are made anew for each row.
      captures: as for `choose_loading`.
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
        captures=captures,
    )
    if loading.workers and config.data.workers == AUTO:
        log.info("data.workers=auto: %d processes make the images", loading.workers)
    return loading


def load_training_set(config: Config) -> TrainingSet:
    """The images that a detector learns from.

    Raises:
      UserError: the data or the settings of its fakes do not fit.
    """
    data, size = config.data, config.model.image_size
    if data.fakes not in (GIVEN, SELF_BLENDED):
        raise UserError(f"data.fakes={data.fakes!r} is not known; choose {GIVEN} or {SELF_BLENDED}")
    augmented = bool(Augmentation(**data.augmentation.to_dict()))
    if data.fakes == SELF_BLENDED and augmented:
        raise UserError(
            f"data.augmentation is for given fakes, and data.fakes={SELF_BLENDED} has "
            "data.post_augmentation; leave one of them out"
        )
    if data.captures < 0 or (data.captures and data.fakes == GIVEN and not augmented):
        raise UserError(
            f"data.captures={data.captures} is a number of captures that data.augmentation or "
            f"data.fakes={SELF_BLENDED} makes of each image; set it to 0 for images as they are"
        )
    if not 0 <= data.full_blends < 1:
        raise UserError(f"data.full_blends={data.full_blends} is a share of the steps; below 1")
    if data.full_blends and (data.fakes == GIVEN or data.captures):
        raise UserError(
            f"data.full_blends={data.full_blends} is for new fakes at every step; set "
            f"--config.data.fakes={SELF_BLENDED} and --config.data.captures=0, or leave it out"
        )
    if data.pairs and data.captures and data.fakes == GIVEN:
        raise UserError(
            f"data.captures={data.captures} changes every image by itself, and data.pairs=True "
            "both of a pair alike; set one of them"
        )
    if (augmented or data.fakes == SELF_BLENDED) and not data.captures:
        _refuse_to_keep(config, "data.augmentation" if augmented else f"data.fakes={SELF_BLENDED}")
    if data.fakes == GIVEN:
        dataset = keep_methods(load_dataset(data.train), data.methods, where="data.methods")
        for line in describe_frames_as_crops(dataset.examples):
            log.warning("data.train: %s", line)
        if config.detector.patch_loss:
            _require_masks(dataset, size)
        if data.pairs:
            _log_pairs(dataset)
        images, loading = read_training_images(dataset, config)
        if isinstance(images, AugmentedDataset) and data.captures:
            images = _captured(images, config, loading)
        return TrainingSet(images, dataset, loading.workers, collect_preparations(dataset), {})
    if data.pairs:
        raise UserError(
            f"data.pairs=True pairs given fakes with their reals, and data.fakes={SELF_BLENDED} "
            "makes pairs anyway; leave one of them out"
        )
    if data.methods:
        raise UserError(
            f"data.methods chooses given fakes, and data.fakes={SELF_BLENDED} uses none; leave "
            "one of them out"
        )
    given = load_dataset(data.train)
    reals = keep_reals(given)
    for line in describe_frames_as_crops(reals.examples):
        log.warning("data.train: %s", line)
    left_out = len(given.examples) - len(reals.examples)
    loading = loading_of(reals, config, blended=True, captures=data.captures)
    pairs = SelfBlendedPairs(
        CachedDataset(reals, size, keep_pixels=loading.keep_pixels),
        config.seed,
        post_augmentation=data.post_augmentation,
    )
    log.info(
        "fakes are self-blended from %d reals (%d with 68 landmarks, %d with a template fitted to "
        "five: approximate); %d given fakes are not used",
        pairs.pair_count,
        pairs.landmark_counts["own"],
        pairs.landmark_counts["approximate template"],
        left_out,
    )
    about = {
        "landmarks": pairs.landmark_counts,
        "post_augmentation": data.post_augmentation,
        "captures": data.captures,
        "full_blends": data.full_blends,
    }
    if data.captures:
        dataset = _captured(pairs, config, loading)
    else:
        dataset = pairs.with_full_blends(round(data.full_blends * config.steps))
    preparations, about = collect_preparations(reals), {"self_blending": about}
    return TrainingSet(dataset, pairs, loading.workers, preparations, about)


def _refuse_to_keep(config: Config, maker: str):
    """Raises: UserError if something of training images shall be kept, which are always new ones.

    Args:
      maker: the setting that makes them.
    """
    choices = {
        "residuals": ("residuals.training", config.residuals.training),
        "features": ("backbone.keep_features", config.get("backbone", {}).get("keep_features")),
    }
    for kept, (option, choice) in choices.items():
        if choice == "always":
            raise UserError(
                f"{option}=always keeps the {kept} of training images, and {maker} makes new ones "
                "at every step; leave one of them out, or set --config.data.captures=8, for "
                "example: then 8 of each image come back"
            )


def _log_pairs(dataset: Dataset):
    found, examples = originals(dataset.examples), dataset.examples
    fakes = sum(example.label == FAKE for example in examples)
    used = {real for reals in found.values() for real in reals}
    log.info(
        "data.pairs: %d of %d fakes have the real that they were made of; the others, and %d reals "
        "of which there is no fake, are not drawn",
        len(found),
        fakes,
        len(examples) - fakes - len(used),
    )


def _require_masks(dataset: Dataset, size: int):
    """Raises: UserError if the first fake of a method has no mask."""
    first = {e.method: i for i, e in reversed([*enumerate(dataset.examples)]) if e.label == FAKE}
    for index in first.values():
        if manipulation_mask(dataset, index, size) is None:
            path = dataset.examples[index].path
            raise UserError(f"data.train: {path} is a fake without a mask; {NEEDS_MASKS}")


def read_training_images(
    dataset: Dataset, config: Config
) -> tuple[CachedDataset | AugmentedDataset, Loading]:
    """The images of a data set as they are, or changed for every row by `data.augmentation`."""
    size, augmentation = config.model.image_size, Augmentation(**config.data.augmentation.to_dict())
    captures = config.data.get("captures", 0)
    loading = loading_of(dataset, config, size=augmentation.kept_size(size), captures=captures)
    keep = loading.keep_pixels
    if not augmentation:
        return CachedDataset(dataset, size, keep_pixels=keep), loading
    return AugmentedDataset(dataset, size, augmentation, config.seed, keep_pixels=keep), loading


def _captured(
    dataset: SelfBlendedPairs | AugmentedDataset, config: Config, loading: Loading
) -> CachedDataset:
    size, captures = config.model.image_size, Captures(dataset, config.data.captures)
    log.info(
        "data.captures=%d: %d captures of %d images; their pixels, %.2g GB, are %s",
        config.data.captures,
        len(captures.examples),
        len(dataset.examples),
        len(captures.examples) * size * size * 3 / 1e9,
        "kept in memory" if loading.keep_pixels else "made anew at every draw (data.cache)",
    )
    return CachedDataset(captures, size, keep_pixels=loading.keep_pixels)
