"""The validation metrics that a run logged for the weights that it kept."""

import json
import pathlib

from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.weights import step_of_weights
from rffr_jax.runs.model_folder import is_model_folder, read_config

METRICS = "metrics.jsonl"


def read_validation_metrics(
    folder: pathlib.Path, step: int | None = None
) -> dict[str, dict[str, float | int]]:
    """The numbers of the last validation of each data set, among them `step`.

    Args:
      folder: the workdir of a pretrain or detect job, or a model folder, which has those of its
        weights. One that has none, such as converted weights, gives {}.
      step: of the weights in a workdir; later validations do not count. None takes the last one.

    Raises:
      UserError: the log, or the model folder, is damaged.
    """
    if is_model_folder(folder):
        return read_config(folder, "model").get("metrics", {})
    file = folder / METRICS
    if not file.is_file():
        return {}
    found: dict[str, dict[str, float | int]] = {}
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            numbers = json.loads(line)
            split = numbers.pop("split")
            if split != "train" and (step is None or numbers["step"] <= step):
                found[split] = numbers
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{file} is damaged ({type(error).__name__} in one of its lines); put a copy back"
        ) from error
    return found


def read_metrics_of_weights(
    folder: pathlib.Path, weights: pathlib.Path
) -> dict[str, dict[str, float | int]]:
    """As `read_validation_metrics`, of the weights that `load_weights` finds.

    A run that was stopped may have measured later weights, which it did not keep.

    Args:
      weights: the folder itself, or that of other weights in a workdir.

    Raises:
      UserError: there are no weights, or as for `read_validation_metrics`.
    """
    step = None if is_model_folder(folder) else step_of_weights(weights, "WORKDIR")
    return read_validation_metrics(folder, step)
