"""A finished MAE beside inpainting without a network, and the warning of a job that uses it.

The numbers are in metrics.jsonl under the split `reconstruction`, and by data set, colour and part
of the face in reconstruction.json.
"""

import logging
import pathlib
from collections.abc import Callable, Mapping
from contextlib import closing

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float32, UInt8

from rffr_jax.cluster import processes
from rffr_jax.cluster.sharding import all_rows, put_batch
from rffr_jax.config import Config
from rffr_jax.data.pipeline import evaluation_batches
from rffr_jax.data.selection import select_examples
from rffr_jax.evaluation import reconstruction_error
from rffr_jax.examples import Dataset, Example
from rffr_jax.method.baseline_residuals import RIDGE_RANK
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.simple_inpainting import RidgeInpainter
from rffr_jax.runs.atomic_files import write_json
from rffr_jax.runs.checkpoints.names import FROZEN
from rffr_jax.runs.checkpoints.weights import save_weights
from rffr_jax.runs.validation_metrics import read_validation_metrics

log = logging.getLogger(__name__)

SPLIT, FILE = "reconstruction", "reconstruction.json"
Reconstruct = Callable[[Array], tuple[Array, Array]]


def check_reconstructions(
    reconstruct: Reconstruct,
    training: Dataset,
    validation: Dataset,
    config: Config,
    mesh: Mesh,
    workers: int,
    workdir: pathlib.Path,
) -> dict[str, float]:
    """Measures a MAE on evenly spaced images of both sets; writes and logs the result.

    The ridge regression that it is compared with is kept for detectors with its residuals.

    Args:
      reconstruct: images put together from their reconstructed blocks, and residuals.
      config: of a pretrain job.
      workers: processes that read images; 0 reads them here.

    Returns:
      `reconstruction_error.summary`; {} where fewer than two images can be read.
    """
    model = config.model
    most = reconstruction_error.training_sample_size(model.image_size)
    _, known, known_filled = _reconstructed(reconstruct, training, most, config, mesh, workers)
    most = reconstruction_error.MOST_UNSEEN
    examples, unseen, filled = _reconstructed(reconstruct, validation, most, config, mesh, workers)
    if len(known) < 2 or not len(unseen):
        log.warning("too few images can be read to compare the MAE with other inpainting")
        return {}
    blocks = BlockGrid(model.image_size // model.patch_size, config.blocks.k)
    ridge = RidgeInpainter.fit(known, blocks, model.patch_size)
    report = reconstruction_error.measure_reconstructions(
        examples, unseen, filled, known, known_filled, blocks, model.patch_size, ridge
    )
    _save_ridge(ridge, config, workdir)
    numbers = reconstruction_error.summary(report)
    if processes.is_main_process():
        write_json(workdir / FILE, report)
        log.info("%s", reconstruction_error.describe(numbers))
        for doubt in reconstruction_error.doubts(numbers):
            log.warning(
                "the MAE does not know faces well: %s; train it longer, on more faces", doubt
            )
    return numbers


def _save_ridge(ridge: RidgeInpainter, config: Config, workdir: pathlib.Path):
    arrays = ridge.compact(RIDGE_RANK)
    shape = {name: config.model[name] for name in ("image_size", "patch_size")}
    rank, images = arrays["components"].shape[-1], len(ridge.centred)
    about = {"kind": "ridge", "model": shape, "k": config.blocks.k, "rank": rank, "images": images}
    save_weights(workdir / FROZEN["ridge"], config.steps, arrays, about)
    log.info(
        "kept the ridge regression on %d training images, %.3g MB, for detector.residual=ridge",
        images,
        sum(array.nbytes for array in arrays.values()) / 1e6,
    )


def read_reconstruction_check(folder: pathlib.Path) -> dict[str, float | int]:
    """The numbers of `check_reconstructions` for a MAE, by its workdir or model folder.

    {} for one that was never checked, such as converted weights.
    """
    return read_validation_metrics(folder).get(SPLIT, {})


def warn_of_weak_mae(name: str, numbers: Mapping[str, float | int]):
    """Logs why the residuals of a MAE may show what it cannot draw, not what was manipulated.

    Args:
      name: of the MAE.
      numbers: of `read_reconstruction_check`.
    """
    if not processes.is_main_process():
        return
    if not numbers:
        log.info("mae=%s was not compared with inpainting without a network", name)
        return
    for doubt in reconstruction_error.doubts(numbers):
        log.warning("mae=%s does not know faces well: %s", name, doubt)


def _reconstructed(
    reconstruct: Reconstruct, dataset: Dataset, most: int, config: Config, mesh: Mesh, workers: int
) -> tuple[list[Example], UInt8[np.ndarray, "n size size 3"], Float32[np.ndarray, "n size size 3"]]:
    """At most `most` evenly spaced examples that can be read, their pixels and reconstructions."""
    total, size = len(dataset.examples), config.model.image_size
    places = np.linspace(0, total - 1, min(most, total)).round().astype(int)
    chosen = select_examples(dataset, places.tolist())
    batches = evaluation_batches(
        chosen,
        size=size,
        batch_size=config.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=workers,
    )
    examples: list[Example] = []
    pixels, filled = (
        [np.zeros((0, size, size, 3), np.uint8)],
        [np.zeros((0, size, size, 3), np.float32)],
    )
    with closing(batches):
        for batch in batches:
            fields = {name: batch[name] for name in ("image", "index", "weight")}
            on_mesh = put_batch(fields, mesh)
            reconstructed = all_rows(reconstruct(on_mesh["image"])[0])
            good = all_rows(on_mesh["weight"]) > 0
            examples += [chosen.examples[i] for i in all_rows(on_mesh["index"])[good]]
            pixels.append(all_rows(on_mesh["image"])[good])
            filled.append(reconstructed[good])
    return examples, np.concatenate(pixels), np.concatenate(filled)
