"""The normalisation of pixels in training, and its folding into a MAE's weights."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import PyTree

from rffr_jax.errors import UserError

WHITE = 255


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """A network reads (p - mean) / std of pixels p in [0, 1]; one number for each colour.

    Raises:
      ValueError: a number is not finite, or a std is not above 0.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self):
        if not np.isfinite([self.mean, self.std]).all() or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean} and std {self.std} normalise nothing")

    def __str__(self) -> str:
        return f"mean {self.mean}, std {self.std}"


NORMALISATIONS = {
    "none": Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "half": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": Normalisation(
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
}


def normalisation_by_name(name: str) -> Normalisation:
    """Raises: UserError for a name that is none of `NORMALISATIONS`."""
    if name not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise UserError(f"--normalisation {name!r} is not known; choose one of {known}")
    return NORMALISATIONS[name]


def stated_normalisation(
    settings: Mapping[str, Any], source: str, path: pathlib.Path
) -> Normalisation | None:
    """The normalisation that settings state under transformers' names; None if they state none.

    Args:
      source: of the settings, for messages.
      path: of the weights, for messages.

    Raises:
      UserError: numbers that normalise nothing, or an unknown range of the pixels.
    """
    mean, std = settings.get("image_mean"), settings.get("image_std")
    if settings.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if mean is None or std is None:
        return None
    try:
        white = _find_white(settings, _colours(mean), source, path)
        return Normalisation(_colours(mean, white), _colours(std, white))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: its image_mean {mean!r} and image_std {std!r} are not three numbers each, "
            f"the latter above 0 (told by {source}); say --normalisation"
        ) from error


def _find_white(
    settings: Mapping[str, Any], mean: Sequence[float], source: str, path: pathlib.Path
) -> float:
    """The value of white when mean and std are applied; ours is 1."""
    if settings.get("do_rescale", True):
        white = WHITE * float(settings.get("rescale_factor") or 1 / WHITE)
        return 1.0 if abs(white - 1) < 1e-6 else white
    if max(mean) > 1:
        return float(WHITE)
    raise UserError(
        f"{path}: {source} says do_rescale false, and not whether pixels were 0 to 255 or in "
        "[0, 1] already; say --normalisation, which is of pixels in [0, 1]"
    )


def _colours(
    numbers: str | Sequence[float | int], white: float = 1.0
) -> tuple[float, float, float]:
    red, green, blue = numbers.split() if isinstance(numbers, str) else numbers
    return float(red) / white, float(green) / white, float(blue) / white


def fold_normalisation(parameters: PyTree, normalisation: Normalisation) -> PyTree:
    """Turns a MAE of normalised pixels into one that reads and predicts pixels in [0, 1].

    W ((p - mean) / std) + b = (W / std) p + (b - W (mean / std)), and the prediction times std plus
    mean: the same function, computed in float64 and rounded once.

    Args:
      parameters: of a `MAE`; the pixels of a patch end in the colour channel.
    """
    embedding, prediction = parameters["embedding"], parameters["prediction"]
    colours = len(embedding["kernel"]) // 3
    mean, std = np.tile(normalisation.mean, colours), np.tile(normalisation.std, colours)
    kernel = embedding["kernel"].astype(np.float64)
    bias = embedding["bias"] - (mean / std) @ kernel
    return {
        **parameters,
        "embedding": _float32(kernel=kernel / std[:, None], bias=bias),
        "prediction": _float32(
            kernel=prediction["kernel"].astype(np.float64) * std,
            bias=prediction["bias"].astype(np.float64) * std + mean,
        ),
    }


def _float32(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    return {name: array.astype(np.float32) for name, array in arrays.items()}
