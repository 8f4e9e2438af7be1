"""Job `residual`: the residual images of any images, as arrays and as a picture to look at."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable
from contextlib import closing
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Float32, Int, PyTree

from rffr_jax.cluster.agreement import require_same_data
from rffr_jax.cluster.memory import passes_at_once
from rffr_jax.cluster.sharding import (
    all_gather_parameters,
    all_rows,
    make_mesh,
    padded_batch_size,
    put_batch,
)
from rffr_jax.config import Config
from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.data.pipeline import evaluation_batches
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.evaluation.localisation import (
    format_localisation,
    localisation_table,
    localise_residuals,
)
from rffr_jax.examples import Dataset, manipulation_mask
from rffr_jax.method.autoencoder_checkpoint import read_autoencoder
from rffr_jax.method.baseline_residuals import amplify_difference, reconstruction_residual
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.detection import unit_range
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.residual import ALPHA, residual_image
from rffr_jax.models.abstract import abstract, abstract_mae, abstract_unet
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings, UNetSettings, compute_dtype
from rffr_jax.reports.contact_sheet import contact_sheet, image_pixels, residual_pixels
from rffr_jax.rivals import Rival, find_rival
from rffr_jax.runs.atomic_files import atomic_write, write_json
from rffr_jax.runs.checkpoints.weights import (
    load_weights,
    read_about,
    warn_of_normalised_targets,
)
from rffr_jax.runs.model_folder import is_model_folder
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.workdir import locked_workdir, write_config

log = logging.getLogger(__name__)

SHEET_ROWS = 12
K = 4  # the paper's, for a MAE that was pretrained without blocks


def run(config: Config, workdir: pathlib.Path):
    """Writes residuals.npz (`path`; `image`, `inpainted`, `residual`: float32 [n, H, W, 3]),
    residuals.png with the first images and, where fakes carry masks, localisation.json: whether
    the residuals lie where the fakes were manipulated. The reconstruction of a UNet or of a rival
    is under `inpainted`."""
    dataset = load_dataset(config.data.inputs)
    mae, mesh = folder_of_model(config.mae, "mae"), make_mesh(config.mesh.fsdp)
    k, blocks_per_pass = config.blocks.k, config.blocks.blocks_per_pass
    source = _residual_model(
        mae, compute_dtype(config.dtype), k, config.blocks.alpha, blocks_per_pass
    )
    require_same_data(inputs=dataset)
    with locked_workdir(workdir):
        write_config(workdir, config)
        index, arrays = residual_arrays(
            dataset,
            mae,
            mesh,
            config,
            k=k,
            alpha=config.blocks.alpha,
            blocks_per_pass=blocks_per_pass,
        )
        if not len(index):
            raise UserError(
                f"data.inputs={config.data.inputs} holds no image that can be used; name others"
            )
        if jax.process_index() == 0:
            paths = np.array([dataset.examples[i].path for i in index])
            with atomic_write(workdir / "residuals.npz") as part, part.open("wb") as file:
                np.savez(file, allow_pickle=False, path=paths, **arrays)
            columns = [pixels[:SHEET_ROWS] for pixels in to_pixels(arrays)]
            titles = ["original", source.title, f"residual x {config.blocks.alpha:g}"]
            rows = list(zip(*columns, strict=True))
            note = synthetic_data_note([dataset.examples[i] for i in index])
            contact_sheet(workdir / "residuals.png", rows, titles, note)
            found = localise_residuals(
                [dataset.examples[i] for i in index],
                [manipulation_mask(dataset, int(i), arrays["residual"].shape[1]) for i in index],
                arrays["residual"],
            )
            if found:
                table = localisation_table(found)
                write_json(workdir / "localisation.json", {"methods": table, "note": note})
                print(format_localisation(table))
    log.info("%d residual images in %s", len(index), workdir)


def residual_arrays(
    dataset: Dataset,
    folder: pathlib.Path,
    mesh: Mesh,
    config: Config,
    *,
    k: int = 0,
    alpha: float = ALPHA,
    blocks_per_pass: int = 1,
) -> tuple[Int[np.ndarray, " n"], dict[str, Float32[np.ndarray, "n height width 3"]]]:
    """`image`, `inpainted` and `residual` of every image that can be used, and its index.

    Args:
      folder: a pretrain workdir or converted weights, of a MAE or a UNet, the model folder of a
        detector that reads residuals of one, or the workdir of a rival that reconstructs.
      config: `batch_size`, `dtype` and `data` of the job.
      k: k x k blocks of a MAE; 0 is what the MAE was pretrained with, or `K`.
      alpha: amplification of the residual.
      blocks_per_pass: blocks that one pass of the MAE hides together.
    """
    source = _residual_model(folder, compute_dtype(config.dtype), k, alpha, blocks_per_pass)
    parameters = load_weights(folder, "mae", source.abstract, mesh, part=source.kind)
    bad_files = BadFiles(dataset, config.data.max_bad_fraction)

    @jax.jit
    def pictures(parameters, images):
        model = nnx.merge(source.definition, nnx.State(all_gather_parameters(parameters, mesh)))
        return source.residual_image(model, unit_range(images))

    parts: dict[str, list[np.ndarray]] = {"image": [], "inpainted": [], "residual": []}
    indices: list[np.ndarray] = []
    batches = evaluation_batches(
        dataset,
        size=source.image_size,
        batch_size=padded_batch_size(config.batch_size, mesh),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=config.data.workers,
    )
    with closing(batches):
        for batch in batches:
            bad_files.update(batch)
            on_mesh = put_batch({n: batch[n] for n in ("image", "index", "weight")}, mesh)
            inpainted, residual = map(all_rows, pictures(parameters, on_mesh["image"]))
            good = all_rows(on_mesh["weight"]) > 0
            indices.append(all_rows(on_mesh["index"])[good])
            parts["image"].append(all_rows(on_mesh["image"])[good].astype(np.float32) / 255)
            parts["inpainted"].append(inpainted[good])
            parts["residual"].append(residual[good])
    bad_files.share()
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    return np.concatenate(indices), arrays


@dataclasses.dataclass(frozen=True)
class _ResidualModel:
    """What makes residuals of images.

    Attributes:
      kind: mae, unet or detector.
      residual_image: of the model and images in [0, 1]: what it makes of them, and the residual.
      title: of the first of these in the picture.
    """

    kind: str
    image_size: int
    definition: nnx.GraphDef
    abstract: PyTree
    residual_image: Callable[..., tuple[Array, Array]]
    title: str


def _residual_model(
    folder: pathlib.Path, dtype: DTypeLike, k: int, alpha: float, blocks_per_pass: int
) -> _ResidualModel:
    about = read_about(folder, "mae", "mae", "unet", "detector")
    if about["kind"] == "detector":
        rival = DetectionSettings.from_json(about["detection"]).is_rival
        if rival or not is_model_folder(folder):
            return _reconstructing_rival(folder, about, dtype, alpha)
        about = read_autoencoder(folder, "mae", "mae", "unet")
    if about["kind"] == "unet":
        unet = UNetSettings(**about["model"])
        reconstruct = functools.partial(reconstruction_residual, alpha=alpha)
        return _ResidualModel(
            "unet", unet.image_size, *abstract_unet(unet), reconstruct, "reconstructed"
        )
    warn_of_normalised_targets(about, f"mae={folder}")
    settings = ModelSettings(**about["model"])
    blocks = BlockGrid(settings.grid, k or about["k"] or K, blocks_per_pass)

    def inpaint(mae: MAE, images: Array):
        at_once = passes_at_once(settings, dtype, len(images))
        return residual_image(mae, blocks, images, alpha, at_once)

    parts = abstract_mae(settings, dtype)
    return _ResidualModel("mae", settings.image_size, *parts, inpaint, "inpainted")


def _reconstructing_rival(
    folder: pathlib.Path, about: dict[str, Any], dtype: DTypeLike, alpha: float
) -> _ResidualModel:
    settings = DetectionSettings.from_json(about["detection"])
    if not (settings.is_rival and find_rival(settings.backbone).Detector.reconstructs):
        raise UserError(
            f"mae={folder} holds a detector checkpoint, not a mae or unet, and its detector "
            "reconstructs no images; name a MAE, a UNet, the workdir of recce, or the folder that "
            "`rffr-jax export-model` makes of a detector with a MAE"
        )
    size, mean, std = settings.model.image_size, np.array(settings.mean), np.array(settings.std)

    def build(rngs: nnx.Rngs) -> nnx.Module:
        rival = find_rival(settings.backbone)
        return rival.Detector(settings.rival, size, dtype=dtype, rngs=rngs)

    def reconstruct(rival: Rival, images: Array):
        found = rival.reconstructed((images - mean) / std) * std + mean
        return found, amplify_difference(found, images, alpha)

    return _ResidualModel("detector", size, *abstract(build), reconstruct, "reconstructed")


def to_pixels(
    arrays: dict[str, Float32[np.ndarray, "n height width 3"]],
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Originals, inpainted images and residuals as 8-bit pictures."""
    return (
        [image_pixels(image) for image in arrays["image"]],
        [image_pixels(image) for image in arrays["inpainted"]],
        [residual_pixels(residual) for residual in arrays["residual"]],
    )
