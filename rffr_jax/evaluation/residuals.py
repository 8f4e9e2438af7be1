"""Job `residual`: the residual images of any images, as arrays and as a picture to look at."""

import logging
import pathlib
from contextlib import closing

import jax
import numpy as np
from flax import nnx

from rffr_jax.blocks import BlockGrid
from rffr_jax.config import Config
from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.pipeline import evaluation_batches
from rffr_jax.data.specs import load_dataset
from rffr_jax.detection import abstract_mae, unit_range
from rffr_jax.errors import UserError
from rffr_jax.evaluation.plots import contact_sheet, image_pixels, residual_pixels
from rffr_jax.models.sizes import ModelSettings, compute_dtype
from rffr_jax.residual import residual_image
from rffr_jax.training.checkpoint import load_weights, read_about
from rffr_jax.training.sharding import all_rows, fitting_batch, make_mesh, put_batch
from rffr_jax.training.workdir import locked, write_config
from rffr_jax.whole_files import whole_file

log = logging.getLogger(__name__)

SHEET_ROWS = 12


def run(config: Config, workdir: pathlib.Path):
    """Writes residuals.npz (`path`; `image`, `inpainted`, `residual`: float32 [n, H, W, 3]) and
    residuals.png with the first images."""
    folder = pathlib.Path(config.mae)
    about = read_about(folder, "mae", "mae")
    settings = ModelSettings(**about["model"])
    blocks = BlockGrid(settings.grid, config.blocks.k or about["k"])
    dataset = load_dataset(config.data.inputs)
    mesh = make_mesh(config.mesh.fsdp)
    definition, abstract = abstract_mae(settings, compute_dtype(config.dtype))
    parameters = load_weights(folder, "mae", abstract, mesh)
    bad_files = BadFiles(dataset, config.data.max_bad_fraction)

    @jax.jit
    def pictures(parameters, images):
        mae = nnx.merge(definition, nnx.State(parameters))
        return residual_image(mae, blocks, unit_range(images), config.blocks.alpha)

    columns = {"image": [], "inpainted": [], "residual": []}
    paths = []
    batches = evaluation_batches(
        dataset,
        size=settings.image_size,
        batch_size=fitting_batch(config.batch_size, mesh),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=config.data.workers,
    )
    with locked(workdir), closing(batches):
        write_config(workdir, config)
        for batch in batches:
            bad_files.update(batch)
            on_mesh = put_batch({n: batch[n] for n in ("image", "index", "weight")}, mesh)
            inpainted, residual = map(all_rows, pictures(parameters, on_mesh["image"]))
            good = all_rows(on_mesh["weight"]) > 0
            paths += [dataset.examples[i].path for i in all_rows(on_mesh["index"])[good]]
            images = all_rows(on_mesh["image"])[good]
            columns["image"].append(images.astype(np.float32) / 255)
            columns["inpainted"].append(inpainted[good])
            columns["residual"].append(residual[good])
        if not paths:
            raise UserError(f"data.inputs={config.data.inputs} holds no image that can be used")
        arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
        if jax.process_index() == 0:
            with whole_file(workdir / "residuals.npz") as part, part.open("wb") as file:
                np.savez(file, allow_pickle=False, path=np.array(paths), **arrays)
            rows = [
                [
                    image_pixels(arrays["image"][i]),
                    image_pixels(arrays["inpainted"][i]),
                    residual_pixels(arrays["residual"][i]),
                ]
                for i in range(min(len(paths), SHEET_ROWS))
            ]
            titles = ["original", "inpainted", f"residual x {config.blocks.alpha:g}"]
            contact_sheet(workdir / "residuals.png", rows, titles)
    log.info("%d residual images in %s", len(paths), workdir)
