"""How the faces of a person's own files are found and cut out: as the detector's training faces."""

import dataclasses
import json
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.data.readers.prepared import differences, newest_version
from rffr_jax.data.readers.records import PREPARATION
from rffr_jax.errors import UserError
from rffr_jax.faces.crop import CropSettings
from rffr_jax.faces.prepare import load_detector
from rffr_jax.images.image_formats import IMAGE_FORMATS
from rffr_jax.predict.quality import DARKEST, LEAST_SHARPNESS

log = logging.getLogger(__name__)

FIND, GIVEN = "find", "given"
SMALLEST_FACE, IMAGE_FORMAT = 30, "jpeg"

MOST_ENLARGED = 2.0
"""A face that the detector would read enlarged by more than this is not judged, where nobody
knows how small its training faces were."""

CROP_NOT_KNOWN = (
    "how the training faces of this detector were cut out is not known: faces are cut out as "
    "scripts/prepare_faces.py does by default, and another crop can change a verdict; name the "
    "prepared data set with --config.preparation=FOLDER, or give aligned crops and "
    "--config.faces=given"
)


@dataclasses.dataclass(frozen=True)
class FaceSettings:
    """Which faces are taken, and how they are cut out.

    Attributes:
      faces: `find` looks for faces; `given` takes every picture for an aligned crop.
      detector, weights, crop, image_format: as in `faces.prepare.Settings`.
      smallest_face: shorter side of a face's box in pixels below which it is not judged.
      preparation_known: whether these are the settings of the detector's training faces.
      frames: of a video, at most.
      most_faces: of a file, the largest ones.
      darkest, least_sharpness: of `quality.unusable_reason`.

    Raises:
      UserError: a value that is not possible.
    """

    faces: str = FIND
    detector: str = "retinaface"
    weights: pathlib.Path | None = None
    crop: CropSettings = dataclasses.field(default_factory=CropSettings)
    smallest_face: int = SMALLEST_FACE
    image_format: str = IMAGE_FORMAT
    preparation_known: bool = False
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
        if self.smallest_face < 1:
            raise UserError(f"smallest_face {self.smallest_face}: must be at least 1")
        if self.image_format not in IMAGE_FORMATS:
            raise UserError(
                f"image_format {self.image_format!r} is not known; {', '.join(IMAGE_FORMATS)}"
            )

    @property
    def note(self) -> str:
        """What must be said of the crops beside every score; '' if nothing."""
        return "" if self.faces == GIVEN or self.preparation_known else CROP_NOT_KNOWN

    def to_json(self) -> dict[str, Any]:
        """What predictions.json says of it."""
        found = dataclasses.asdict(self) | {"weights": self.weights and str(self.weights)}
        if self.faces == GIVEN:
            for name in _OF_FINDING:
                found.pop(name)
        return found


_OF_FINDING = (
    "detector",
    "weights",
    "crop",
    "smallest_face",
    "image_format",
    "preparation_known",
)


def face_settings(
    preparations: Sequence[Mapping[str, Any]],
    image_size: int,
    named: pathlib.Path | None = None,
    **asked: Any,
) -> FaceSettings:
    """The settings of a detector's training faces; those of the preparation script where nobody
    knows them.

    Args:
      preparations: what the checkpoint records.
      image_size: of the crops that the detector reads, in pixels.
      named: a prepared data set, or its preparation.json, whose settings are used where the
        checkpoint records none.
      asked: further fields of `FaceSettings`.

    Raises:
      UserError: the preparation that is named is none or not the recorded one, or its face
        detector cannot be had.
    """
    if asked.get("faces") == GIVEN:
        if named:
            raise UserError(
                "--config.preparation says how faces are cut out, and --config.faces=given cuts "
                "out none; leave one of them out"
            )
        return FaceSettings(**asked)
    if named:
        preparations = [_read_named(named, preparations)]
    if not preparations:
        settings = FaceSettings(**asked)
        load_detector(settings.detector, settings.weights)
        enlarged = round(image_size / settings.crop.scale / MOST_ENLARGED)
        return dataclasses.replace(settings, smallest_face=max(SMALLEST_FACE, enlarged))
    recorded = preparations[0]
    if len(preparations) > 1:
        log.warning(
            "the detector was trained on faces that were prepared in several ways (%s); those of "
            "the first are used",
            "; ".join(differences(preparations)) or "which make the same crops",
        )
    settings = _recorded_settings(recorded, **asked)
    if settings.detector == "yunet" and settings.weights is None:
        raise UserError(
            "the detector's training faces were found by YuNet; name its ONNX file with "
            "--config.face_weights=FILE, or cut the faces out and use --config.faces=given"
        )
    digest = load_detector(settings.detector, settings.weights).digest
    if digest != recorded["weights_sha256"]:
        raise UserError(
            f"the detector's training faces were found by {settings.detector} with other weights "
            f"(SHA-256 {recorded['weights_sha256'][:12]}..., not {digest[:12]}...); name that file "
            "with --config.face_weights=FILE, or cut the faces out and use --config.faces=given"
        )
    return settings


def _recorded_settings(recorded: Mapping[str, Any], **asked: Any) -> FaceSettings:
    crop = {field.name: recorded[field.name] for field in dataclasses.fields(CropSettings)}
    crop["scale"] = float(crop["scale"])
    return FaceSettings(
        detector=recorded["detector"],
        crop=CropSettings(**crop),
        smallest_face=recorded["smallest_face"],
        image_format=recorded["image_format"],
        preparation_known=True,
        **asked,
    )


def _read_named(path: pathlib.Path, recorded: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record of a prepared data set.

    Args:
      path: DIR/NAME, DIR/NAME/VERSION or the JSON file in it.
      recorded: what the checkpoint records.

    Raises:
      UserError: there is no such record, or the checkpoint records another one.
    """
    try:
        file = newest_version(path) / PREPARATION if path.is_dir() else path
        record = json.loads(file.read_bytes())
        for name, kinds in _RECORDED.items():
            if type(record[name]) not in kinds:
                raise TypeError(f"{name} is {record[name]!r}")
        _recorded_settings(record)
    except OSError as error:
        reason = f"{error.filename}: {(error.strerror or str(error)).lower()}"
    except KeyError as error:
        reason = f"it has no {error.args[0]}"
    except (TypeError, ValueError, RecursionError, UserError) as error:
        reason = " ".join(f"{error}".split())[:200]
    else:
        different = [differences([one, record]) for one in recorded]
        if different and all(different):
            raise UserError(
                f"--config.preparation={path} is not how the detector's training faces were "
                f"prepared ({'; '.join(different[0])}); leave it out: the checkpoint records that"
            )
        return record
    raise UserError(
        f"--config.preparation={path} is no record of a preparation ({reason}); name the folder "
        f"of a data set that scripts/prepare_faces.py made, or the {PREPARATION} in it"
    )


_RECORDED = {
    "detector": (str,),
    "weights_sha256": (str,),
    "smallest_face": (int,),
    "size": (int,),
    "scale": (int, float),
    "alignment": (str,),
    "interpolation": (str,),
    "image_format": (str,),
}
"""Types of what is used of a record."""
