"""What a checkpoint says of its MAE, UNet or ridge regression, also of one inside a detector."""

import dataclasses
import pathlib
from typing import Any

from rffr_jax.errors import UserError
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.runs.checkpoints.weights import read_about
from rffr_jax.runs.model_folder import is_model_folder


def read_autoencoder(folder: pathlib.Path, option: str, *kinds: str) -> dict[str, Any]:
    """What a checkpoint says of itself, or the model folder of a detector of the model in it.

    Args:
      option: that names the folder.
      kinds: that are asked for; `load_weights` takes the one that is found as its `part`.

    Raises:
      UserError: as `read_about`; the detector reads no residual of such a model.
    """
    if not is_model_folder(folder):
        return read_about(folder, option, *kinds)
    about = read_about(folder, option, *kinds, "detector")
    if about["kind"] != "detector":
        return about
    inside = DetectionSettings.from_json(about["detection"])
    if inside.autoencoder not in kinds:
        raise UserError(
            f"{option}={folder} holds a detector that reads no residual of a {' or '.join(kinds)}"
        )
    models = {"mae": inside.mae, "unet": inside.unet, "ridge": inside.model}
    model = models[inside.autoencoder]
    assert model is not None
    return {
        **{"version": about["version"], "kind": inside.autoencoder, "k": inside.k},
        **{"model": dataclasses.asdict(model), "rank": inside.ridge_rank},
    }
