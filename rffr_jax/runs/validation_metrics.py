"""The validation metrics that a run logged for the weights that it kept."""

import json
import pathlib

from rffr_jax.errors import UserError

METRICS = "metrics.jsonl"


def read_validation_metrics(
    workdir: pathlib.Path, step: int | None = None
) -> dict[str, dict[str, float | int]]:
    """The numbers of the last validation of each data set, among them `step`.

    Args:
      workdir: of a pretrain or detect job; one without a log gives {}.
      step: of the weights; later validations do not count. None takes the last one.

    Raises:
      UserError: the log is damaged.
    """
    file = workdir / METRICS
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
