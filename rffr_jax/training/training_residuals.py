"""Residuals of whole training images, computed once, from which a step takes the drawn blocks.

A step needs a share p of an image's blocks. If p times the draws of an image exceeds 1, the MAE has
less work when it computes every image once, before the first step. Batches are in the order of the
data set, so the results do not depend on the step at which a run starts or resumes.
"""

import logging
import sys
from contextlib import closing

import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils
from jaxtyping import Float, Float16, Int

from rffr_jax.cluster import processes
from rffr_jax.cluster.interruption import InterruptedRunError, StopRequest
from rffr_jax.config import Config
from rffr_jax.data.pipeline import evaluation_batches
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset
from rffr_jax.method.detection import Detection
from rffr_jax.method.residual_cache import DIGEST_BYTES, ResidualCache, image_digests

log = logging.getLogger(__name__)

CHOICES = ("auto", "always", "never")


def should_cache_residuals(choice: str, *, draws: int, share: float, images: int) -> bool:
    """Whether a training caches the residuals of its images.

    Args:
      choice: `residuals.training`; `auto` caches them if that saves work of the MAE.
      draws: images that all steps read together.
      share: MAE passes of a draw, on average, over those of a whole image.
      images: number of different images.

    Raises:
      UserError: an unknown choice.
    """
    if choice not in CHOICES:
        raise UserError(
            f"residuals.training={choice!r} is not known; choose {', '.join(CHOICES[:-1])} or "
            f"{CHOICES[-1]}"
        )
    return choice == "always" or (choice == "auto" and draws * share > images)


class TrainingResiduals:
    """Differences B_hat - B of all training images, computed at the first use."""

    def __init__(
        self,
        kept: ResidualCache,
        detection: Detection,
        dataset: Dataset,
        config: Config,
        workers: int,
    ):
        """
        Raises:
          UserError: there is no room for them.
        """
        self._kept, self._detection = kept, detection
        self._dataset, self._config, self._workers = dataset, config, workers
        self._digests: np.ndarray | None = None
        count, room = len(dataset.examples), config.residuals.memory_gb
        size = count * kept.image_bytes
        if kept.folder is None and (size > room * 10**9 or jax.process_count() > 1):
            raise UserError(
                f"the residuals of {count} training images take {size / 1e9:.2g} "
                f"GB and have no place: name a --config.residuals.folder that all processes see, "
                f"raise residuals.memory_gb={room:g} in a run of one process, or set "
                "--config.residuals.training=never"
            )
        if kept.folder is not None and size > (on_disk := kept.room_on_disk()):
            raise UserError(
                f"the residuals of {count} training images take {size / 1e9:.2g} GB, and "
                f"residuals.folder={kept.folder} has room for {on_disk / 1e9:.2g} GB: name another "
                "folder, take fewer images or data.captures, or set "
                "--config.residuals.training=never"
            )

    def of(
        self,
        index: Int[np.ndarray, " rows"],
        weight: Float[np.ndarray, " rows"],
        chosen: Int[np.ndarray, "rows most"] | None,
    ) -> Float16[np.ndarray, "rows patches pixels"]:
        """The differences of the chosen blocks of each row, or of all blocks.

        Rows of weight 0 are zero. All processes call it together.

        Raises:
          UserError: a cached residual is missing.
        """
        covered, pixels = self._detection.differences_shape
        blocks = self._detection.blocks.count
        patches = covered if chosen is None else chosen.shape[1] * (covered // blocks)
        differences = np.zeros((len(index), patches, pixels), np.float16)
        if not (index >= 0).any():  # an empty batch, for its shape
            return differences
        if self._digests is None:
            self._digests = self._compute()
        rows = np.flatnonzero(weight > 0)
        for row, whole in zip(rows, self._kept.read(self._digests[index[rows]]), strict=True):
            if whole is None:
                raise UserError(
                    f"the residual of {self._dataset.examples[index[row]].path} is no longer in "
                    f"{self._kept.folder}; start the same command again, which computes what is "
                    "missing"
                )
            if chosen is not None:
                whole = whole.reshape(blocks, -1, pixels)[chosen[row]].reshape(patches, pixels)
            differences[row] = whole
        return differences

    def _compute(self) -> np.ndarray:
        """Computes all differences; returns the digest of every image, zeros for bad files."""
        config, examples = self._config, self._dataset.examples
        log.info(
            "residuals of %d training images, %.2g GB, are computed or looked up in %s; at most "
            "%g GB of them stay in memory",
            len(examples),
            len(examples) * self._kept.image_bytes / 1e9,
            self._kept.folder or "memory",
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
            desc="residuals",
        )
        with closing(batches), bar, StopRequest() as stop:
            for number, batch in enumerate(batches):
                if stop.should_stop(number):
                    self._kept.flush()
                    raise InterruptedRunError(
                        "stopped while the residuals of the training images were computed; run "
                        "the same command again to resume"
                    )
                of_batch = image_digests(batch["image"])
                self._kept.of(batch["image"], of_batch)
                good = batch["weight"] > 0
                digests[batch["index"][good]] = of_batch[good]
                bar.update(int(good.sum()) * jax.process_count())
        self._kept.flush()
        if jax.process_count() > 1:
            digests = multihost_utils.process_allgather(digests).max(axis=0)
        if not self._kept.holds(digests[digests.any(axis=1)]):
            raise UserError(
                f"the residuals of the training images could not be kept in {self._kept.folder}, "
                "which all processes must see and be able to write; mend that, name another "
                "--config.residuals.folder, or set --config.residuals.training=never"
            )
        return digests
