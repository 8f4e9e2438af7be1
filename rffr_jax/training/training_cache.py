"""Residuals and features of training images, computed once, from which the steps read.

A step needs a share p of an image's blocks, and all of its features. If p times the draws of an
image exceeds 1, the frozen model has less work when it computes every image once, before the first
step. Batches are in the order of the data set, so the results do not depend on the step at which a
run starts or resumes.
"""

import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Float, Int, PyTree

from rffr_jax.cluster import processes
from rffr_jax.cluster.interruption import InterruptedRunError, StopRequest
from rffr_jax.config import Config
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.pipeline import Batch, evaluation_batches
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset
from rffr_jax.method.array_cache import DIGEST_BYTES, ArrayCache, image_digests
from rffr_jax.method.detection import Detection
from rffr_jax.method.feature_cache import FeatureCache
from rffr_jax.method.residual_cache import ResidualCache

log = logging.getLogger(__name__)

CHOICES = ("auto", "always", "never")
OPTIONS = {"residuals": "residuals.training", "features": "backbone.keep_features"}


def should_cache(option: str, choice: str, *, draws: int, share: float, images: int) -> bool:
    """Whether a training caches what a frozen model says of its images.

    Args:
      option: one of `OPTIONS`.
      choice: its value; `auto` caches where that saves work of the model.
      draws: images that all steps read together.
      share: passes of the model for a draw, on average, over those for a whole image.
      images: number of different images.

    Raises:
      UserError: an unknown choice.
    """
    if choice not in CHOICES:
        raise UserError(
            f"{option}={choice!r} is not known; choose {', '.join(CHOICES[:-1])} or {CHOICES[-1]}"
        )
    return choice == "always" or (choice == "auto" and draws * share > images)


def make_training_cache(
    dataset: Dataset,
    config: Config,
    detection: Detection,
    residuals: ResidualCache,
    backbone: PyTree,
    mesh: Mesh,
    *,
    share: float,
    workers: int,
) -> "TrainingCache | None":
    """What a training keeps of its images; None where it keeps nothing.

    Args:
      backbone: parameters of the backbone, if it is frozen.
      share: passes of the MAE for the blocks of a draw, on average, over those for a whole image.

    Raises:
      UserError: the settings do not fit, or there is no room.
    """
    settings, choice = detection.settings, config.backbone.keep_features
    numbers = {"draws": config.steps * config.batch_size, "images": len(dataset.examples)}
    keep_features = should_cache(OPTIONS["features"], choice, share=1.0, **numbers)
    if choice == "always" and settings.train != "head":
        raise UserError(
            "backbone.keep_features=always keeps the features of a backbone of which nothing is "
            f"trained, and detector.train={settings.train}; set --config.detector.train=head, or "
            "leave it out"
        )
    caches: list[ArrayCache] = []
    if settings.fills_blocks and should_cache(
        OPTIONS["residuals"],
        config.residuals.training,
        share=share if settings.needs_mae else 1.0,  # a ridge fills all blocks at once
        **numbers,
    ):
        caches.append(residuals)
    if keep_features and settings.train == "head":
        folder, memory = residuals.folder, residuals.memory
        caches.append(FeatureCache(detection, backbone, mesh, folder=folder, memory=memory))
    if not caches or not isinstance(dataset, CachedDataset):  # the others never repeat
        return None
    return TrainingCache(caches, detection, dataset, config, workers)


class TrainingCache:
    """Residuals or features of all training images, or both."""

    def __init__(
        self,
        caches: Sequence[ArrayCache],
        detection: Detection,
        dataset: Dataset,
        config: Config,
        workers: int,
    ):
        """
        Args:
          caches: of one folder and one memory.

        Raises:
          UserError: there is no room for them.
        """
        self._caches = {cache.name: cache for cache in caches}
        self._detection = detection
        self._dataset, self._config, self._workers = dataset, config, workers
        self._names = " and ".join(self._caches)
        self._never = " ".join(f"--config.{OPTIONS[name]}=never" for name in self._caches)
        self._folder = caches[0].folder
        self._digests: np.ndarray | None = None
        count, room = len(dataset.examples), config.residuals.memory_gb
        self._bytes = count * sum(cache.array_bytes for cache in caches)
        take = f"the {self._names} of {count} training images take {self._bytes / 1e9:.2g} GB"
        if self._folder is None and (self._bytes > room * 10**9 or jax.process_count() > 1):
            raise UserError(
                f"{take} and have no place: name a --config.residuals.folder that all processes "
                f"see, raise residuals.memory_gb={room:g} in a run of one process, or set "
                f"{self._never}"
            )
        if self._folder is not None and self._bytes > (on_disk := self._room_on_disk()):
            raise UserError(
                f"{take}, and residuals.folder={self._folder} has room for {on_disk / 1e9:.2g} GB: "
                f"name another folder, take fewer images or data.captures, or set {self._never}"
            )

    def _room_on_disk(self) -> int:
        """Bytes that the arrays may take: those in their files and those left."""
        assert self._folder is not None
        there = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        taken = sum(cache.bytes_on_disk() for cache in self._caches.values())
        return taken + shutil.disk_usage(there).free

    def compute(self):
        """Computes all arrays that are missing; all processes call it together.

        Raises:
          UserError: they cannot be kept.
          InterruptedRunError: a signal asked to stop; what was computed is kept.
        """
        config, examples = self._config, self._dataset.examples
        log.info(
            "%s of %d training images, %.2g GB, are computed or looked up in %s; at most %g GB of "
            "them stay in memory",
            self._names,
            len(examples),
            self._bytes / 1e9,
            self._folder or "memory",
            config.residuals.memory_gb,
        )
        digests = np.zeros((len(examples), DIGEST_BYTES), np.uint8)
        batches = evaluation_batches(
            self._dataset,
            size=config.model.image_size,
            batch_size=config.batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=self._workers,
        )
        bar = tqdm.tqdm(
            total=len(examples),
            disable=not (processes.is_main_process() and sys.stderr.isatty()),
            unit="image",
            desc=self._names,
        )
        with closing(batches), bar, StopRequest() as stop:
            for number, batch in enumerate(batches):
                if stop.should_stop(number):
                    self._flush()
                    raise InterruptedRunError(
                        f"stopped while the {self._names} of the training images were computed; "
                        "run the same command again to resume"
                    )
                of_batch = image_digests(batch["image"])
                for cache in self._caches.values():
                    cache.of(batch["image"], of_batch)
                good = batch["weight"] > 0
                digests[batch["index"][good]] = of_batch[good]
                bar.update(int(good.sum()) * jax.process_count())
        self._flush()
        if jax.process_count() > 1:
            digests = multihost_utils.process_allgather(digests).max(axis=0)
        good = digests[digests.any(axis=1)]
        if not all(cache.holds(good) for cache in self._caches.values()):
            raise UserError(
                f"the {self._names} of the training images could not be kept in {self._folder}, "
                "which all processes must see and be able to write; mend that, name another "
                f"--config.residuals.folder, or set {self._never}"
            )
        self._digests = digests

    def inputs(
        self,
        index: Int[np.ndarray, " rows"],
        weight: Float[np.ndarray, " rows"],
        chosen: Int[np.ndarray, "rows most"] | None,
    ) -> Batch:
        """What is kept of the rows of a batch; rows of weight 0 are zero.

        Returns:
          `difference`, float16 [rows, patches, pixels], of the chosen blocks of each row, or of all
          blocks; and `feature`, float32 [rows, width].

        Raises:
          UserError: an array is missing.
        """
        found: Batch = {}
        if "residuals" in self._caches:
            covered, pixels = self._caches["residuals"].shape
            blocks = self._detection.blocks.count
            patches = covered if chosen is None else chosen.shape[1] * (covered // blocks)
            found["difference"] = np.zeros((len(index), patches, pixels), np.float16)
            for row, whole in self._rows("residuals", index, weight):
                if chosen is not None:
                    whole = whole.reshape(blocks, -1, pixels)[chosen[row]].reshape(patches, pixels)
                found["difference"][row] = whole
        if "features" in self._caches:
            found["feature"] = np.zeros((len(index), *self._caches["features"].shape), np.float32)
            for row, feature in self._rows("features", index, weight):
                found["feature"][row] = feature
        return found

    def _rows(
        self, name: str, index: np.ndarray, weight: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The rows of a weight above 0, each with its array."""
        if not (index >= 0).any():  # an empty batch, for its shape
            return
        assert self._digests is not None, "`compute` comes first"
        rows, cache = np.flatnonzero(weight > 0), self._caches[name]
        for row, array in zip(rows.tolist(), cache.read(self._digests[index[rows]]), strict=True):
            if array is None:
                raise UserError(
                    f"the {name} of {self._dataset.examples[index[row]].path} are no longer in "
                    f"{self._folder}; start the same command again, which computes what is missing"
                )
            yield row, array

    def _flush(self):
        for cache in self._caches.values():
            cache.flush()
