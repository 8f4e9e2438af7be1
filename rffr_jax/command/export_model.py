"""`rffr-jax export-model WORKDIR DIR`: a trained model as a folder to carry and share."""

import pathlib
from collections.abc import Sequence

from rffr_jax import load_detector
from rffr_jax.cluster.command_line import Parser
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.errors import UserError
from rffr_jax.models.abstract import abstract_mae, abstract_unet, abstract_vit
from rffr_jax.models.sizes import ModelSettings, UNetSettings
from rffr_jax.reports.model_folder_card import model_folder_card
from rffr_jax.runs.checkpoints.weights import load_weights, read_about
from rffr_jax.runs.model_folder import TYPES, write_model
from rffr_jax.runs.model_names import folder_of_model
from rffr_jax.runs.text_files import read_text
from rffr_jax.runs.validation_metrics import read_metrics_of_weights

MODELS = {
    "mae": (ModelSettings, abstract_mae),
    "vit": (ModelSettings, abstract_vit),
    "unet": (UNetSettings, abstract_unet),
}


def main(arguments: Sequence[str]) -> int:
    """Exports what the arguments say, and prints where it is.

    Raises:
      UserError: there is no model in WORKDIR, or DIR holds something.
    """
    parser = Parser(
        prog="rffr-jax export-model",
        description="Writes a trained model as model.safetensors, config.json and README.md.",
    )
    parser.add_argument("workdir", help="of a finished detect or pretrain job, or a model folder")
    parser.add_argument("folder", type=pathlib.Path, help="a new folder")
    parser.add_argument("--checkpoint", default="last", help="of a detector: last or best:NAME")
    parser.add_argument(
        "--backbone",
        default="",
        help="of a detector: converted weights of its backbone, where they lie elsewhere than in "
        "its training",
    )
    parser.add_argument("--dtype", default="float32", choices=list(TYPES), help="of the arrays")
    parser.add_argument("--card", type=pathlib.Path, help="a README.md of your own")
    parser.add_argument(
        "--preparation",
        default="",
        help="of a detector: a preparation.json that says how its training faces were cut out",
    )
    options = parser.parse_args(arguments)
    export_model(
        folder_of_model(options.workdir, "WORKDIR"),
        options.folder,
        options.checkpoint,
        options.dtype,
        read_text(options.card) if options.card else "",
        options.preparation,
        options.backbone,
    )
    print(f"{options.folder} holds the model")
    return 0


def export_model(
    workdir: pathlib.Path,
    folder: pathlib.Path,
    checkpoint: str = "last",
    dtype: str = "float32",
    card: str = "",
    preparation: str = "",
    backbone: str = "",
):
    """Writes a model folder.

    Args:
      workdir: of a finished detect or pretrain job, converted weights of a ViT or a MAE, or a model
        folder.
      folder: does not exist, or is empty.
      checkpoint: of a detector: `last` or `best:NAME`.
      dtype: of the arrays, `float32` or `float16`.
      card: text of README.md; '' takes the card of the training, or that of the model folder.
      preparation: of a detector, as for `LoadedDetector.save_pretrained`.
      backbone: of a detector, as for `load_detector`.

    Raises:
      UserError: there is no model in the workdir, no such checkpoint, or the folder is not empty; a
        preparation or a backbone where there is no detector.
    """
    about = read_about(workdir, "WORKDIR", "detector", *MODELS)
    kind = about["kind"]
    if kind == "detector":
        load_detector(workdir, backbone=backbone, checkpoint=checkpoint).save_pretrained(
            folder, dtype=dtype, card=card, preparation=preparation
        )
        return
    if backbone:
        raise UserError(
            f"--backbone names weights that a detector was trained on, and {workdir} holds a "
            f"{kind}; leave it out"
        )
    if preparation:
        raise UserError(
            f"--preparation says how a detector's faces are cut out, and {workdir} holds a {kind}; "
            "leave it out"
        )
    settings, abstract = MODELS[kind]
    shapes = abstract(settings(**about["model"]))[1]
    parameters = load_weights(workdir, "WORKDIR", shapes, make_mesh(1))
    card = card or model_folder_card(kind, folder.name, workdir)
    config = {"about": about, "metrics": read_metrics_of_weights(workdir, workdir)}
    write_model(folder, {kind: parameters}, config, card, dtype)
