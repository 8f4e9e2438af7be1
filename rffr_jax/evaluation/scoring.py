"""Scores of a detector on a test set; what the frozen MAE says of its images is kept."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from rffr_jax import processes
from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.examples import Dataset, Example
from rffr_jax.data.pipeline import Batch, evaluation_batches
from rffr_jax.detection import Detection
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.kept_residuals import KeptResiduals, image_digests
from rffr_jax.sharding import all_rows, fitting_batch, put_batch, whole


@dataclasses.dataclass(frozen=True)
class PreparedSet:
    """A test set for any number of passes.

    Attributes:
      dataset: what the batches index.
      batches: `image`, `index`, `weight` and, for a detector that reads residuals of a MAE,
        `difference`; the same in every pass.
      bad: examples whose file could not be used, with the reason; whole after the first pass.
    """

    dataset: Dataset
    batches: Iterable[Batch]
    bad: dict[Example, str]


@dataclasses.dataclass(frozen=True)
class _Passes:
    """Batches that can be gone through any number of times."""

    start: Callable[[], Iterator[Batch]]

    def __iter__(self) -> Iterator[Batch]:
        return self.start()


class Scorer:
    """Scores datasets with any parameters of one detector; two programs, each compiled once."""

    def __init__(
        self,
        detection: Detection,
        frozen: PyTree,
        mesh: Mesh,
        *,
        batch_size: int,
        workers: int,
        max_bad_fraction: float,
        kept: KeptResiduals | None = None,
    ):
        """
        Args:
          frozen: of the MAE or the UNet that residuals come from; {} without one.
          kept: where residuals of a MAE are looked up and kept; in memory alone by default.
        """
        self.kept = kept or KeptResiduals(detection, frozen, mesh)
        self._mesh = mesh
        self._size = detection.settings.model.image_size
        self._batch_size = fitting_batch(batch_size, mesh)
        self._workers, self._max_bad_fraction = workers, max_bad_fraction
        self._needs_mae, self._frozen = detection.settings.needs_mae, frozen

        def margin(
            parameters: PyTree, frozen: PyTree, images: Array, differences: Array | None
        ) -> Array:
            if differences is None:
                residuals = detection.residual_images(whole(frozen, mesh), images)
            else:
                residuals = detection.residual_images_of(differences)
            logits = detection.logits(whole(parameters, mesh), images, residuals)
            return logits[:, 1] - logits[:, 0]

        self._margin = jax.jit(margin)

    def prepare(self, dataset: Dataset) -> PreparedSet:
        """A test set for any number of `score` calls; its residuals are computed in the first.

        Its images stay in memory if `kept.memory` has room for all of them; otherwise every call
        reads them again.
        """
        bad: dict[Example, str] = {}
        bad_files = BadFiles(dataset, self._max_bad_fraction)
        images: list[Batch] = []
        share = -(-len(dataset.examples) // jax.process_count())
        if all(processes.of_everyone(self.kept.memory.take(share * self._size**2 * 3))):
            images += self._read(dataset, bad_files, bad)

        def batches() -> Iterator[Batch]:
            yield from self._with_differences(images or self._read(dataset, bad_files, bad))

        return PreparedSet(dataset, _Passes(batches), bad)

    def score(self, parameters: PyTree, prepared: Dataset | PreparedSet) -> Predictions:
        """The probability of `fake` for every example that can be read.

        Args:
          parameters: the detector's.
          prepared: a prepared set, or a dataset, of which no image is kept then.
        """
        if not isinstance(prepared, PreparedSet):
            bad: dict[Example, str] = {}
            images = self._read(prepared, BadFiles(prepared, self._max_bad_fraction), bad)
            prepared = PreparedSet(prepared, self._with_differences(images), bad)
        margins, indices = [], []
        for batch in prepared.batches:
            on_mesh = put_batch(batch, self._mesh)
            differences = on_mesh.get("difference")
            margins.append(self._margin(parameters, self._frozen, on_mesh["image"], differences))
            used = jnp.where(on_mesh["weight"] > 0, on_mesh["index"], -1)
            indices.append(used)
        index = np.concatenate([all_rows(rows) for rows in indices])
        margin = np.concatenate([all_rows(rows) for rows in margins]).astype(np.float64)
        used = np.flatnonzero(index >= 0)
        examples = [prepared.dataset.examples[i] for i in index[used]]
        with np.errstate(over="ignore"):
            scores = 1.0 / (1.0 + np.exp(-margin[used]))
        return Predictions(examples, scores, prepared.bad)

    def _read(
        self, dataset: Dataset, bad_files: BadFiles, bad: dict[Example, str]
    ) -> Iterator[Batch]:
        """`image`, `index`, `weight` and, where residuals are needed, `digest` of the images."""
        batches = evaluation_batches(
            dataset,
            size=self._size,
            batch_size=self._batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=self._workers,
        )
        with closing(batches):
            for batch in batches:
                bad_files.update(batch)
                read = {name: batch[name] for name in ("image", "index", "weight")}
                if self._needs_mae:
                    read["digest"] = image_digests(batch["image"])
                yield read
        bad_files.share()
        bad.update(
            (example, bad_files.names[example.path])
            for example in dataset.examples
            if example.path in bad_files.names
        )

    def _with_differences(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            whole = {name: batch[name] for name in ("image", "index", "weight")}
            if self._needs_mae:
                whole["difference"] = self.kept.of(batch["image"], batch["digest"])
            yield whole
        self.kept.flush()
