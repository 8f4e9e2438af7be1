"""How the faces of a person's own files are found and cut out: as the detector's training faces."""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.data.readers.prepared import differences
from rffr_jax.errors import UserError
from rffr_jax.faces.crop import CropSettings
from rffr_jax.faces.prepare import load_detector
from rffr_jax.predict.quality import DARKEST, LEAST_SHARPNESS

log = logging.getLogger(__name__)

FIND, GIVEN = "find", "given"
SMALLEST_FACE, IMAGE_FORMAT = 30, "jpeg"


@dataclasses.dataclass(frozen=True)
class FaceSettings:
    """Which faces are taken, and how they are cut out.

    Attributes:
      faces: `find` looks for faces; `given` takes every picture for an aligned crop.
      detector, weights, crop, smallest_face, image_format: as in `faces.prepare.Settings`.
      frames: of a video, at most.
      most_faces: of a file, the largest ones.
      darkest, least_sharpness: of `quality.why_not`.

    Raises:
      UserError: a value that is not possible.
    """

    faces: str = FIND
    detector: str = "retinaface"
    weights: pathlib.Path | None = None
    crop: CropSettings = dataclasses.field(default_factory=CropSettings)
    smallest_face: int = SMALLEST_FACE
    image_format: str = IMAGE_FORMAT
    frames: int = 32
    most_faces: int = 8
    darkest: float = DARKEST
    least_sharpness: float = LEAST_SHARPNESS

    def __post_init__(self):
        if self.faces not in (FIND, GIVEN):
            raise UserError(f"faces={self.faces!r} is not known; choose {FIND} or {GIVEN}")
        if self.frames < 1 or self.most_faces < 1:
            raise UserError(
                f"frames_per_video={self.frames}, most_faces={self.most_faces}: must be at least 1"
            )
        if self.detector not in ("retinaface", "yunet"):
            raise UserError(f"face detector {self.detector!r} is not known; retinaface or yunet")

    def to_json(self) -> dict[str, Any]:
        """What predictions.json says of it."""
        found = dataclasses.asdict(self) | {"weights": self.weights and str(self.weights)}
        if self.faces == GIVEN:
            for name in ("detector", "weights", "crop", "smallest_face", "image_format"):
                found.pop(name)
        return found


def face_settings(preparations: Sequence[Mapping[str, Any]], **asked: Any) -> FaceSettings:
    """The settings of a detector's training faces; those of the preparation script where its
    checkpoint records none.

    Args:
      preparations: what the checkpoint records.
      asked: further fields of `FaceSettings`.

    Raises:
      UserError: the face detector that is recorded cannot be had.
    """
    if asked.get("faces") == GIVEN:
        return FaceSettings(**asked)
    if not preparations:
        settings = FaceSettings(**asked)
        load_detector(settings.detector, settings.weights)
        return settings
    recorded = preparations[0]
    if len(preparations) > 1:
        log.warning(
            "the detector was trained on faces that were prepared in several ways (%s); those of "
            "the first are used",
            "; ".join(differences(preparations)) or "which make the same crops",
        )
    crop = CropSettings(
        **{field.name: recorded[field.name] for field in dataclasses.fields(CropSettings)}
    )
    settings = FaceSettings(
        detector=recorded["detector"],
        crop=crop,
        smallest_face=recorded["smallest_face"],
        image_format=recorded["image_format"],
        **asked,
    )
    digest = load_detector(settings.detector, settings.weights).digest
    if digest != recorded["weights_sha256"]:
        raise UserError(
            f"the detector's training faces were found by {settings.detector} with other weights "
            f"(SHA-256 {recorded['weights_sha256'][:12]}..., not {digest[:12]}...); name that file "
            "with --config.face_weights=FILE, or cut the faces out and use --config.faces=given"
        )
    return settings
