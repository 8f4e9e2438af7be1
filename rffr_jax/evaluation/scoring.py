"""Scores of a detector on a test set; residuals can be kept, because the MAE never changes."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.examples import Dataset, Example
from rffr_jax.data.pipeline import Batch, evaluation_batches
from rffr_jax.detection import Detection
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.sharding import (
    all_rows,
    batch_sharding,
    fitting_batch,
    local_rows,
    put_batch,
)


@dataclasses.dataclass(frozen=True)
class PreparedSet:
    """A test set whose images are read and whose residuals are computed, in host memory.

    Attributes:
      dataset: what the batches index.
      batches: `image`, `index`, `weight` and, for a detector that reads it, `residual`.
      bad: examples whose file could not be used, with the reason.
    """

    dataset: Dataset
    batches: Iterable[Batch]
    bad: dict[Example, str]


class Scorer:
    """Scores datasets with any parameters of one detector; two programs, each compiled once."""

    def __init__(
        self,
        detection: Detection,
        mae_parameters: PyTree,
        mesh: Mesh,
        *,
        batch_size: int,
        workers: int,
        max_bad_fraction: float,
    ):
        self._mae_parameters, self._mesh = mae_parameters, mesh
        self._size = detection.settings.model.image_size
        self._batch_size = fitting_batch(batch_size, mesh)
        self._workers, self._max_bad_fraction = workers, max_bad_fraction
        self._computes_residuals = detection.settings.needs_mae
        self._residuals = jax.jit(detection.residual_images, out_shardings=batch_sharding(mesh))
        zero = detection.settings.reads_residual and not detection.settings.needs_mae

        def margin(parameters: PyTree, images: Array, residuals: Array | None) -> Array:
            if zero:
                residuals = jnp.zeros(images.shape, jnp.float32)
            logits = detection.logits(parameters, images, residuals)
            return logits[:, 1] - logits[:, 0]

        self._margin = jax.jit(margin)

    def prepare(self, dataset: Dataset) -> PreparedSet:
        """Reads a test set and computes its residuals once, for any number of `score` calls.

        Memory on the host: size * size * 15 bytes an image (0.75 MB at 224 pixels).
        """
        bad: dict[Example, str] = {}
        batches = list(self._batches(dataset, bad))
        return PreparedSet(dataset, batches, bad)

    def score(self, parameters: PyTree, prepared: Dataset | PreparedSet) -> Predictions:
        """The probability of `fake` for every example that can be read.

        Args:
          parameters: the detector's.
          prepared: a prepared set, or a dataset, which is then read without keeping anything.
        """
        if not isinstance(prepared, PreparedSet):
            bad: dict[Example, str] = {}
            prepared = PreparedSet(prepared, self._batches(prepared, bad), bad)
        margins, indices = [], []
        for batch in prepared.batches:
            on_mesh = put_batch(batch, self._mesh)
            margins.append(self._margin(parameters, on_mesh["image"], on_mesh.get("residual")))
            used = jnp.where(on_mesh["weight"] > 0, on_mesh["index"], -1)
            indices.append(used)
        index = np.concatenate([all_rows(rows) for rows in indices])
        margin = np.concatenate([all_rows(rows) for rows in margins]).astype(np.float64)
        used = np.flatnonzero(index >= 0)
        examples = [prepared.dataset.examples[i] for i in index[used]]
        with np.errstate(over="ignore"):
            scores = 1.0 / (1.0 + np.exp(-margin[used]))
        return Predictions(examples, scores, prepared.bad)

    def _batches(self, dataset: Dataset, bad: dict[Example, str]) -> Iterator[Batch]:
        bad_files = BadFiles(dataset, self._max_bad_fraction)
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
                kept = {name: batch[name] for name in ("image", "index", "weight")}
                if self._computes_residuals:
                    on_mesh = put_batch({"image": batch["image"]}, self._mesh)
                    residuals = self._residuals(self._mae_parameters, on_mesh["image"])
                    kept["residual"] = local_rows(residuals)
                yield kept
        bad.update(
            (example, bad_files.names[example.path])
            for example in dataset.examples
            if example.path in bad_files.names
        )
