"""How faces are found and cut out: for training data, and alike for what is judged later."""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.errors import UserError
from rffr_jax.faces.crop import CropSettings
from rffr_jax.faces.detectors import DETECTORS, require_recorded_detector
from rffr_jax.images.image_formats import IMAGE_FORMATS

log = logging.getLogger(__name__)

SMALLEST_FACE, IMAGE_FORMAT = 30, "jpeg"


@dataclasses.dataclass(frozen=True)
class FaceRecipe:
    """How faces are found and cut out.

    Attributes:
      detector: `retinaface` or `yunet`.
      weights: the detector's own file; None for those that come with RetinaFace's package.
      crop: how a face is cut out.
      smallest_face: shorter side of a face's box in pixels below which it is not taken.
      image_format: that crops are kept in, one of `image_formats.IMAGE_FORMATS`.

    Raises:
      UserError: a setting that is not known or out of range.
    """

    detector: str = "retinaface"
    weights: pathlib.Path | None = None
    crop: CropSettings = dataclasses.field(default_factory=CropSettings)
    smallest_face: int = SMALLEST_FACE
    image_format: str = IMAGE_FORMAT

    def __post_init__(self):
        if self.detector not in DETECTORS:
            raise UserError(
                f"--detector {self.detector!r} is not known; give {' or '.join(DETECTORS)}"
            )
        if self.smallest_face < 1:
            raise UserError(f"--smallest-face {self.smallest_face}: give at least 1")
        if self.image_format not in IMAGE_FORMATS:
            raise UserError(
                f"--image-format {self.image_format!r} is not known; give "
                f"{', '.join(IMAGE_FORMATS)}"
            )


def recorded_fields(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that `PreparationSettings.to_json` recorded: all but `weights`."""
    crop = {field.name: recorded[field.name] for field in dataclasses.fields(CropSettings)}
    crop["scale"] = float(crop["scale"])
    fields = {name: recorded[name] for name in ("detector", "smallest_face", "image_format")}
    return fields | {"crop": CropSettings(**crop)}


def choose_recorded(
    preparations: Sequence[Mapping[str, Any]], weights: pathlib.Path | None, otherwise: str
) -> Mapping[str, Any]:
    """The first of the preparations of a detector's training faces; a warning if they differ.

    Args:
      preparations: as the checkpoint records them, at least one.
      weights, otherwise: as for `require_recorded_detector`.

    Raises:
      UserError: as for `require_recorded_detector`.
    """
    if len(preparations) > 1:
        from rffr_jax.data.readers.prepared import compare_preparations  # slow to import

        if different := compare_preparations(preparations):
            log.warning(
                "the detector was trained on faces that were prepared in several ways (%s); those "
                "of the first are used",
                "; ".join(different),
            )
    require_recorded_detector(preparations[0], weights, otherwise)
    return preparations[0]
