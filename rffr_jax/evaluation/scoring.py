"""Scores of a detector on images; the residuals of its frozen MAE are computed once and kept."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float16, Float32, Float64, PyTree, UInt8

from rffr_jax.cluster import processes
from rffr_jax.cluster.sharding import all_gather_parameters, all_rows, padded_batch_size, put_batch
from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.image_hashes import ImageHashes, hash_batch, join_clusters
from rffr_jax.data.pipeline import Batch, evaluation_batches
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import Dataset, Example
from rffr_jax.method import residual
from rffr_jax.method.array_cache import image_digests
from rffr_jax.method.detection import Detection
from rffr_jax.method.residual_cache import ResidualCache

PACKAGES = ("jax", "jaxlib", "flax", "orbax-checkpoint", "grain", "numpy", "pillow", "scikit-learn")
"""Scores and what is measured on them may change with their versions."""


@dataclasses.dataclass(frozen=True)
class PreparedSet:
    """A test set for any number of passes.

    Attributes:
      dataset: `index` of the batches counts its examples.
      batches: starts a pass; each batch has `image`, `index`, `weight`, `hash` and, for a detector
        that reads residuals of a MAE, `difference`.
      bad: examples whose file could not be used, with the reason; complete after the first pass.
    """

    dataset: Dataset
    batches: Callable[[], Iterator[Batch]]
    bad: dict[Example, str]


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
        kept: ResidualCache | None = None,
    ):
        """
        Args:
          frozen: of what residuals come from, such as a MAE; {} without it.
          kept: where residuals of a MAE are looked up and kept; only in memory by default.
        """
        self.kept = kept or ResidualCache(detection, frozen, mesh)
        self._mesh = mesh
        self._size = detection.settings.model.image_size
        self._batch_size = padded_batch_size(batch_size, mesh)
        self._workers, self._max_bad_fraction = workers, max_bad_fraction
        self._fills_blocks, self._frozen = detection.settings.fills_blocks, frozen

        def residuals_of(frozen: PyTree, images: Array, differences: Array | None) -> Array | None:
            if differences is None:
                return detection.residual_images(all_gather_parameters(frozen, mesh), images)
            return detection.residual_images_from_differences(differences)

        def margin(
            parameters: PyTree, frozen: PyTree, images: Array, differences: Array | None
        ) -> Array:
            residuals = residuals_of(frozen, images, differences)
            logits = detection.logits(all_gather_parameters(parameters, mesh), images, residuals)
            return logits[:, 1] - logits[:, 0]

        def evidence(
            parameters: PyTree, frozen: PyTree, images: Array, differences: Array | None
        ) -> tuple[Array, Array]:
            residuals = residuals_of(frozen, images, differences)
            return detection.evidence(all_gather_parameters(parameters, mesh), images, residuals)

        def pictures(
            frozen: PyTree, images: Array, differences: Array | None
        ) -> tuple[Array | None, Array | None, Array | None]:
            gathered = all_gather_parameters(frozen, mesh)
            residuals = residuals_of(frozen, images, differences)
            reconstructions = detection.reconstructions(gathered, images, differences)
            return reconstructions, residuals, heat_of(residuals)

        def heat_of(residuals: Array | None) -> Array | None:
            if residuals is None:
                return None
            patch = detection.settings.model.patch_size
            return residual.block_heat(residuals, detection.blocks, patch)

        def heat(frozen: PyTree, images: Array, differences: Array | None) -> Array | None:
            return heat_of(residuals_of(frozen, images, differences))

        self._margin, self._evidence = jax.jit(margin), jax.jit(evidence)
        self._pictures, self._heat = jax.jit(pictures), jax.jit(heat)

    def prepare(self, dataset: Dataset) -> PreparedSet:
        """A test set for any number of `score` calls; its residuals are computed in the first.

        Its images stay in memory if `kept.memory` has room for all of them; otherwise every call
        reads them again.
        """
        bad: dict[Example, str] = {}
        bad_files = BadFiles(dataset, self._max_bad_fraction)
        images: list[Batch] = []
        share = -(-len(dataset.examples) // jax.process_count())
        if all(processes.all_gather_objects(self.kept.memory.take(share * self._size**2 * 3))):
            images += self._read(dataset, bad_files, bad)

        def batches() -> Iterator[Batch]:
            yield from self._with_differences(images or self._read(dataset, bad_files, bad))

        return PreparedSet(dataset, batches, bad)

    def score(self, parameters: PyTree, prepared: Dataset | PreparedSet) -> Predictions:
        """The softmax of `fake`, in [0, 1], for every example that can be read.

        Examples with equal pixels become one cluster (`Example.group`).

        Args:
          parameters: the detector's.
          prepared: a prepared set, or a dataset, whose images are not kept.
        """
        return self._score(parameters, prepared, with_heat=False)[0]

    def score_with_heat(
        self, parameters: PyTree, prepared: Dataset | PreparedSet
    ) -> tuple[Predictions, Float32[np.ndarray, "n k k"] | None]:
        """As `score`, with the mean |residual| in every block of the same examples.

        None for a detector that reads no residual.
        """
        return self._score(parameters, prepared, with_heat=True)

    def _score(
        self, parameters: PyTree, prepared: Dataset | PreparedSet, *, with_heat: bool
    ) -> tuple[Predictions, Float32[np.ndarray, "n k k"] | None]:
        if not isinstance(prepared, PreparedSet):
            prepared = self._prepare_one_pass(prepared)
        margins, indices, heats, hashes = [], [], [], []
        for batch in prepared.batches():
            on_mesh = put_batch(batch, self._mesh)
            differences = on_mesh.get("difference")
            margins.append(self._margin(parameters, self._frozen, on_mesh["image"], differences))
            if with_heat:
                heat = self._heat(self._frozen, on_mesh["image"], differences)
                with_heat = heat is not None
                heats.append(heat)
            indices.append(jnp.where(on_mesh["weight"] > 0, on_mesh["index"], -1))
            hashes.append(on_mesh["hash"])
        index = np.concatenate([all_rows(rows) for rows in indices])
        margin = np.concatenate([all_rows(rows) for rows in margins])
        used = np.flatnonzero(index >= 0)
        examples = [prepared.dataset.examples[i] for i in index[used]]
        found = ImageHashes.from_batch(np.concatenate([all_rows(rows) for rows in hashes])[used])
        examples = join_clusters(examples, found.digests)
        predictions = Predictions(examples, _probabilities(margin[used]), prepared.bad, found)
        if not with_heat:
            return predictions, None
        return predictions, np.concatenate([all_rows(rows) for rows in heats])[used]

    def score_images(
        self, parameters: PyTree, images: UInt8[np.ndarray, "n size size 3"]
    ) -> tuple[Float64[np.ndarray, " n"], Float16[np.ndarray, "n covered pixels"] | None]:
        """The softmax of `fake` for images in memory, by the programs of `score`.

        For a single process.

        Returns:
          The scores in [0, 1], and the `differences` for `pictures`; None for a detector that reads
          no residuals of a MAE.
        """
        scores, differences = [], []
        for rows in self._batches_of(len(images)):
            part = self._padded(images[rows])
            difference = self.kept.of(part, image_digests(part)) if self._fills_blocks else None
            margins = self._margin(parameters, self._frozen, *self._put(part, difference))
            count = len(images[rows])
            scores.append(_probabilities(all_rows(margins)[:count]))
            differences.append(None if difference is None else difference[:count])
        if not scores:
            return np.zeros(0), None
        return np.concatenate(scores), np.concatenate(differences) if self._fills_blocks else None

    def pictures(
        self,
        images: UInt8[np.ndarray, "n size size 3"],
        differences: Float16[np.ndarray, "n covered pixels"] | None,
    ) -> tuple[
        Float32[np.ndarray, "n size size 3"] | None,
        Float32[np.ndarray, "n size size 3"] | None,
        Float32[np.ndarray, "n k k"] | None,
    ]:
        """Reconstructions by the MAE or UNet, about [0, 1], residuals in [-1, 1], and the mean
        |residual| in every block.

        None for a detector that has or reads none. For a single process.

        Args:
          images: at least one.
          differences: of the same images, from `score_images`.
        """
        found: list[list[np.ndarray | None]] = [[], [], []]
        for rows in self._batches_of(len(images)):
            some = None if differences is None else self._padded(differences[rows])
            pictures = self._pictures(self._frozen, *self._put(self._padded(images[rows]), some))
            for parts, picture in zip(found, pictures, strict=True):
                parts.append(None if picture is None else all_rows(picture)[: len(images[rows])])
        reconstructions, residuals, heat = (
            None if parts[0] is None else np.concatenate(parts)  # pyright: ignore[reportArgumentType, reportCallIssue]
            for parts in found
        )
        return reconstructions, residuals, heat

    def _batches_of(self, count: int) -> Iterator[slice]:
        for first in range(0, count, self._batch_size):
            yield slice(first, first + self._batch_size)

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        """Adds zeros up to a power of two or a whole batch, so that few programs are compiled and
        a single image does not cost a batch."""
        power = padded_batch_size(1 << (len(rows) - 1).bit_length(), self._mesh)
        length = min(power, self._batch_size)
        return np.pad(rows, [(0, length - len(rows)), *[(0, 0)] * (rows.ndim - 1)])

    def _put(self, images: np.ndarray, differences: np.ndarray | None) -> list[Array | None]:
        batch = {"image": images}
        if differences is not None:
            batch["difference"] = differences
        on_mesh = put_batch(batch, self._mesh)
        return [on_mesh["image"], on_mesh.get("difference")]

    def evidence(
        self, parameters: PyTree, dataset: Dataset
    ) -> tuple[list[Example], Float32[np.ndarray, "n features"], Float32[np.ndarray, "n _ _ _"]]:
        """Class tokens and attention maps (`Detection.evidence`) of every example that can be read.

        Returns:
          The examples, their class tokens and their attention maps.
        """
        indices, features, attention = [], [], []
        for batch in self._prepare_one_pass(dataset).batches():
            on_mesh = put_batch(batch, self._mesh)
            differences = on_mesh.get("difference")
            found = self._evidence(parameters, self._frozen, on_mesh["image"], differences)
            good = all_rows(on_mesh["weight"]) > 0
            indices.append(all_rows(on_mesh["index"])[good])
            features.append(all_rows(found[0])[good])
            attention.append(all_rows(found[1])[good])
        examples = [dataset.examples[i] for i in np.concatenate(indices)]
        return examples, np.concatenate(features), np.concatenate(attention)

    def _prepare_one_pass(self, dataset: Dataset) -> PreparedSet:
        """A dataset for one pass; only its residuals are kept."""
        bad: dict[Example, str] = {}
        images = self._read(dataset, BadFiles(dataset, self._max_bad_fraction), bad)
        return PreparedSet(dataset, lambda: self._with_differences(images), bad)

    def _read(
        self, dataset: Dataset, bad_files: BadFiles, bad: dict[Example, str]
    ) -> Iterator[Batch]:
        """`image`, `index`, `weight`, `hash` and, where residuals are needed, `digest`."""
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
                read["hash"] = hash_batch(batch["image"])
                if self._fills_blocks:
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
            fields = {name: batch[name] for name in ("image", "index", "weight", "hash")}
            if self._fills_blocks:
                fields["difference"] = self.kept.of(batch["image"], batch["digest"])
            yield fields
        self.kept.flush()


def _probabilities(margins: Float32[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Probabilities of `fake`, from differences of the two logits."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-margins.astype(np.float64)))
