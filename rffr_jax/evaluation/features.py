"""Job `features`: class tokens and attention maps of a trained detector, for any images."""

import logging
import pathlib

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from rffr_jax.cluster import processes
from rffr_jax.cluster.agreement import require_same_data
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.evaluation.trained_detector import TrainedDetector
from rffr_jax.examples import Dataset, Example
from rffr_jax.models.detector import branch_names
from rffr_jax.reports.contact_sheet import contact_sheet, image_pixels
from rffr_jax.runs.atomic_files import atomic_write
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.workdir import locked_workdir, write_config

log = logging.getLogger(__name__)

SHEET_ROWS = 12
EXAMPLE_FIELDS = ("id", "path", "dataset", "method", "video", "label")


def run(config: Config, workdir: pathlib.Path):
    """Writes features.npz (`id`, `path`, `dataset`, `method`, `video`, `label`; `features`: float32
    [n, branches x width], `attention`: float32 [n, branches, grid, grid], `branches`) and
    attention.png with the first images."""
    dataset = load_dataset(config.data.inputs, default_split="test")
    folder = folder_of_model(config.detector, "detector")
    detector = TrainedDetector(folder, make_mesh(config.mesh.fsdp), config)
    if detector.detection.settings.pretrained is not None:
        raise UserError(
            f"detector={config.detector} has a pretrained backbone, whose grid is another than "
            "that of residuals; name a detector without one"
        )
    if detector.detection.settings.is_rival:
        raise UserError(
            f"detector={config.detector} is no ViT ({detector.detection.settings.backbone}), so it "
            "has no attention; name a ViT detector"
        )
    detector.require_checkpoint(config.checkpoint)
    require_same_data(inputs=dataset)
    with locked_workdir(workdir):
        write_config(workdir, config)
        examples, features, attention = detector.scorer.evidence(
            detector.parameters(config.checkpoint), dataset
        )
        if not examples:
            raise UserError(
                f"data.inputs={config.data.inputs} holds no image that can be used; name others"
            )
        if processes.is_main_process():
            branches = branch_names(detector.about["detection"]["inputs"])
            known = {
                name: np.array([getattr(e, name) for e in examples]) for name in EXAMPLE_FIELDS
            }
            with atomic_write(workdir / "features.npz") as part, part.open("wb") as file:
                np.savez(
                    file,
                    allow_pickle=False,
                    **known,
                    features=features,
                    attention=attention,
                    branches=np.array(branches),
                )
            size = detector.about["detection"]["model"]["image_size"]
            shown = _load_images(dataset, examples[:SHEET_ROWS], size)
            rows = [
                [image, *(attention_overlay(image, one) for one in maps)]
                for image, maps in zip(shown, attention, strict=False)
            ]
            titles = ["image", *(f"attention, {name}" for name in branches)]
            contact_sheet(workdir / "attention.png", rows, titles, synthetic_data_note(examples))
    log.info("features of %d images in %s", len(examples), workdir)


def attention_overlay(
    image: UInt8[np.ndarray, "size size 3"], attention: Float[np.ndarray, "grid grid"]
) -> UInt8[np.ndarray, "size size 3"]:
    """A grey image under the colours of a map, enlarged bilinearly; its highest value is yellow."""
    size = len(image)
    relative = attention / max(float(attention.max()), 1e-12)
    scaled = Image.fromarray(np.asarray(relative, np.float32))
    enlarged = np.asarray(scaled.resize((size, size), Image.Resampling.BILINEAR))
    colours = matplotlib.colormaps["viridis"](enlarged)[..., :3]
    grey = image.mean(axis=-1, keepdims=True) / 255
    return image_pixels(0.4 * grey + 0.6 * colours)


def _load_images(dataset: Dataset, examples: list[Example], size: int) -> list[np.ndarray]:
    place = {example: index for index, example in enumerate(dataset.examples)}
    return [dataset.load(place[example], size) for example in examples]
