"""`rffr-jax export DETECTOR --to stablehlo|torch`: a detector for programs without this package."""

import hashlib
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from rffr_jax import __version__, load_detector
from rffr_jax.cluster.command_line import Parser
from rffr_jax.convert.files import write_safetensors
from rffr_jax.convert.to_pytorch import MODULES_FILE, export_pytorch
from rffr_jax.convert.to_stablehlo import PLATFORMS, export_stablehlo
from rffr_jax.predict.detector import LoadedDetector
from rffr_jax.reports.model_folder_card import TRAINING_CARD
from rffr_jax.runs import model_folder
from rffr_jax.runs.atomic_files import new_folder, write_json

FORMAT = "rffr_jax export 1"
STABLEHLO, TORCH = "stablehlo", "torch"
PROGRAM, WEIGHTS, MODULES = "detector.jax_export", "detector.safetensors", "detector.py"
DESCRIPTION = "detector.json"


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
    output = options.output or pathlib.Path(f"{detector.folder.absolute().name}-{options.to}")
    export(detector, output, options.to)
    print(f"{output} holds the detector")
    return 0


def export(detector: LoadedDetector, output: pathlib.Path, to: str):
    """Writes a folder with the detector, its description and its card, whole or not at all.

    Args:
      detector: with float32 as its compute type.
      output: must not exist, or be empty.
      to: `stablehlo` or `torch`.

    Raises:
      UserError: it cannot be exported so, or the folder holds something.
    """
    with new_folder(output) as folder:
        if to == STABLEHLO:
            (folder / PROGRAM).write_bytes(export_stablehlo(*detector.parts))
            more = {"platforms": list(PLATFORMS)}
        else:
            arrays, network = export_pytorch(*detector.parts)
            write_safetensors(folder / WEIGHTS, arrays, {"format": "pt"})
            shutil.copyfile(MODULES_FILE, folder / MODULES)
            more = {"network": network}
        digests = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
        write_json(folder / DESCRIPTION, {**describe(detector), **more, "sha256": digests})
        for card in (TRAINING_CARD, model_folder.CARD):
            if (detector.folder / card).is_file():
                shutil.copyfile(detector.folder / card, folder / TRAINING_CARD)


def describe(detector: LoadedDetector) -> dict[str, Any]:
    """What the exported detector reads and says, for its JSON file."""
    size, point = detector.image_size, detector.operating_point.to_json()
    return {
        "format": FORMAT,
        "version": __version__,
        "input": {
            "shape": ["batch", size, size, 3],
            "dtype": "uint8",
            "range": [0, 255],
            "content": "aligned face crops, RGB, as they come: nothing is subtracted or scaled",
            "preparations": detector.about["preparations"],
        },
        "output": {
            "shape": ["batch"],
            "dtype": "float32",
            "range": [0, 1],
            "content": "raw scores; a higher one means more likely fake",
        },
        "thresholds": point["thresholds"],
        "calibrations": point["calibrations"],
        "checkpoint": detector.checkpoint,
        "digest": detector.digest,
        "note": detector.note,
        "detection": detector.about["detection"],
    }


def _sha256(file: pathlib.Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
