"""`rffr-jax export DETECTOR --to stablehlo|torch`: a detector for programs without this package."""

import importlib.util
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float64, UInt8
from scipy import special

from rffr_jax import __version__, load_detector
from rffr_jax.cluster.command_line import Parser
from rffr_jax.convert.files import write_safetensors
from rffr_jax.convert.to_pytorch import MODULES_FILE, export_pytorch
from rffr_jax.convert.to_stablehlo import PLATFORMS, export_stablehlo
from rffr_jax.errors import UserError
from rffr_jax.faces.recipe import IMAGE_FORMAT
from rffr_jax.images.image_formats import JPEG_CHROMA, JPEG_QUALITY
from rffr_jax.predict.detector import LoadedDetector
from rffr_jax.reports.model_folder_card import TRAINING_CARD
from rffr_jax.runs import model_folder
from rffr_jax.runs.atomic_files import new_folder, sha256, write_json
from rffr_jax.runs.model_names import last_part

FORMAT = "rffr_jax export 1"
STABLEHLO, TORCH = "stablehlo", "torch"
PROGRAM, WEIGHTS, MODULES = "detector.jax_export", "detector.safetensors", "detector.py"
DESCRIPTION = "detector.json"
LARGEST_DIFFERENCE = 1e-4  # of a score


def main(arguments: Sequence[str]) -> int:
    """Exports what the arguments say, and prints where it is.

    Raises:
      UserError: there is no detector, it cannot be exported so, or the output holds something.
    """
    parser = Parser(
        prog="rffr-jax export",
        description="Writes a whole detector for programs that do not have this package.",
    )
    parser.add_argument(
        "detector",
        nargs="?",
        default="",
        help="workdir of a finished detect job, or model folder; the installed one by default",
    )
    parser.add_argument(
        "--to",
        required=True,
        choices=(STABLEHLO, TORCH),
        help="a program that JAX runs, or a PyTorch module with its weights",
    )
    parser.add_argument("--output", type=pathlib.Path, help="a new folder; NAME-TO by default")
    parser.add_argument("--checkpoint", default="last", help="last or best:NAME")
    parser.add_argument(
        "--backbone",
        default="",
        help="converted weights of its backbone, where they lie elsewhere than in its training",
    )
    options = parser.parse_args(arguments)
    detector = load_detector(
        options.detector,
        backbone=options.backbone,
        checkpoint=options.checkpoint,
        dtype="float32",
    )
    output = options.output or pathlib.Path(f"{last_part(detector.name)}-{options.to}")
    export(detector, output, options.to)
    print(f"{output} holds the detector")
    return 0


def export(detector: LoadedDetector, output: pathlib.Path, to: str):
    """Writes a folder with the detector, its description and its card, whole or not at all.

    Scores of a few random crops must be those of the detector. PyTorch modules are compared where
    PyTorch is installed.

    Args:
      detector: with float32 as its compute type.
      output: must not exist, or be empty.
      to: `stablehlo` or `torch`.

    Raises:
      UserError: it cannot be exported so, its scores are not finite or not those of what was
        exported, or the folder holds something.
    """
    size = detector.image_size
    crops = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    with jax.default_matmul_precision("highest"):
        wanted = detector.score(crops)
    with new_folder(output) as folder:
        if to == STABLEHLO:
            (folder / PROGRAM).write_bytes(export_stablehlo(*detector.parts))
            more = {"platforms": list(PLATFORMS)}
        else:
            arrays, network = export_pytorch(*detector.parts)
            write_safetensors(folder / WEIGHTS, arrays, {"format": "pt"})
            shutil.copyfile(MODULES_FILE, folder / MODULES)
            more = {"network": network}
        digests = {file.name: sha256(file) for file in sorted(folder.iterdir())}
        write_json(folder / DESCRIPTION, {**describe(detector), **more, "sha256": digests})
        for card in (TRAINING_CARD, model_folder.CARD):
            if (detector.folder / card).is_file():
                shutil.copyfile(detector.folder / card, folder / TRAINING_CARD)
        if to == STABLEHLO or importlib.util.find_spec("torch"):
            differences = np.abs(_scores(folder, to, crops) - wanted)
            if not (differences <= LARGEST_DIFFERENCE).all():
                raise UserError(
                    f"detector={detector.folder}: exported, its scores differ by up to "
                    f"{differences.max():.2g}, so nothing was written; export it on another "
                    "machine, or use a model folder (`rffr-jax export-model`)"
                )


def _scores(
    folder: pathlib.Path, to: str, crops: UInt8[np.ndarray, "n size size 3"]
) -> Float64[np.ndarray, " n"]:
    """Of what was exported into the folder."""
    if to == STABLEHLO:
        program = jax.export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
        margins = program.call(crops)
    else:
        import torch  # pyright: ignore[reportMissingImports]

        from rffr_jax.convert import pytorch_detector

        margins = pytorch_detector.load(folder)(torch.from_numpy(crops))
    return special.expit(np.asarray(margins, np.float64))


def describe(detector: LoadedDetector) -> dict[str, Any]:
    """What the exported detector reads and says, for its JSON file."""
    size, point = detector.image_size, detector.operating_point.to_json()
    preparations = detector.about["preparations"]
    stored = preparations[0]["image_format"] if preparations else IMAGE_FORMAT
    return {
        "format": FORMAT,
        "version": __version__,
        "input": {
            "shape": ["batch", size, size, 3],
            "dtype": "uint8",
            "range": [0, 255],
            "content": "aligned face crops, RGB, as they come: nothing is subtracted or scaled",
            "resizing": "of the centre square, in one step, with Pillow's BILINEAR",
            "preparations": preparations,
            "encoding": {
                "content": "a crop that is cut out of a picture is encoded and decoded once",
                "image_format": stored,
                "quality": JPEG_QUALITY if stored == "jpeg" else None,
                "chroma": JPEG_CHROMA if stored == "jpeg" else None,
            },
        },
        "output": {
            "shape": ["batch"],
            "dtype": "float32",
            "content": "margins: the logit of fake minus that of real; one that is not finite says "
            "nothing",
            "score": "1 / (1 + exp(-margin)), in float64; higher means more likely fake; a score "
            "above a threshold says fake",
        },
        "thresholds": point["thresholds"],
        "calibrations": point["calibrations"],
        "checkpoint": detector.checkpoint,
        "digest": detector.digest,
        "note": detector.note,
        "detection": detector.about["detection"],
    }
