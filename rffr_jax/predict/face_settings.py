"""Settings by which faces are found and cut out: those of the detector's training faces."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.errors import UserError
from rffr_jax.faces.detectors import load_detector
from rffr_jax.faces.recipe import SMALLEST_FACE, FaceRecipe, choose_recorded, recorded_fields
from rffr_jax.predict.quality import DARKEST, LEAST_SHARPNESS

FIND, GIVEN = "find", "given"

MOST_ENLARGED = 2.0
"""A face that would be enlarged by more than this is not judged where the size of the training
faces is not recorded."""

CROP_NOT_KNOWN = (
    "how the training faces of this detector were cut out is not known: faces are cut out as "
    "scripts/prepare_faces.py does by default, and another crop can change a verdict; name the "
    "prepared data set with --config.preparation=FOLDER, or give aligned crops and "
    "--config.faces=given"
)


@dataclasses.dataclass(frozen=True)
class FaceSettings(FaceRecipe):
    """Which faces are taken, and how they are cut out.

    Attributes:
      faces: `find` looks for faces; `given` uses every picture as an aligned crop.
      preparation_known: whether these are the settings of the detector's training faces.
      frames: of a video, at most.
      most_faces: of a file, the largest ones.
      darkest, least_sharpness: of `quality.unusable_reason`.

    Raises:
      UserError: a value that is not possible.
    """

    faces: str = FIND
    preparation_known: bool = False
    frames: int = 32
    most_faces: int = 8
    darkest: float = DARKEST
    least_sharpness: float = LEAST_SHARPNESS

    def __post_init__(self):
        super().__post_init__()
        if self.faces not in (FIND, GIVEN):
            raise UserError(f"faces={self.faces!r} is not known; choose {FIND} or {GIVEN}")
        if self.frames < 1 or self.most_faces < 1:
            raise UserError(
                f"frames_per_video={self.frames}, most_faces={self.most_faces}: must be at least 1"
            )

    @property
    def note(self) -> str:
        """A warning about the crops to show beside every score; '' if there is none."""
        return "" if self.faces == GIVEN or self.preparation_known else CROP_NOT_KNOWN

    def to_json(self) -> dict[str, Any]:
        """`preprocessing.faces` of predictions.json."""
        fields = dataclasses.asdict(self) | {"weights": self.weights and str(self.weights)}
        unused = _UNUSED_BY_GIVEN if self.faces == GIVEN else ()
        return {name: value for name, value in fields.items() if name not in unused}


_UNUSED_BY_GIVEN = (
    *("detector", "weights", "crop", "smallest_face", "image_format", "preparation_known"),
)


def face_settings(
    preparations: Sequence[Mapping[str, Any]],
    image_size: int,
    preparation: pathlib.Path | None = None,
    **options: Any,
) -> FaceSettings:
    """The settings of a detector's training faces, or the defaults of the preparation script where
    they are not known.

    Args:
      preparations: the records in the checkpoint.
      image_size: of the crops that the detector reads, in pixels.
      preparation: a prepared data set, or its preparation.json, whose settings are used where the
        checkpoint records none.
      options: further fields of `FaceSettings`.

    Raises:
      UserError: `preparation` is none or not the recorded one, or its face detector is missing.
    """
    if options.get("faces") == GIVEN:
        if preparation:
            raise UserError(
                "--config.preparation says how faces are cut out, and --config.faces=given cuts "
                "out none; leave one of them out"
            )
        return FaceSettings(**options)
    if preparation:
        preparations = [read_preparation(preparation, preparations)]
    if not preparations:
        settings = FaceSettings(**options)
        load_detector(settings.detector, settings.weights)
        enlarged = round(image_size / settings.crop.scale / MOST_ENLARGED)
        return dataclasses.replace(settings, smallest_face=max(SMALLEST_FACE, enlarged))
    otherwise = "cut the faces out and use --config.faces=given"
    recorded = choose_recorded(preparations, options.get("weights"), otherwise)
    return FaceSettings(**recorded_fields(recorded), preparation_known=True, **options)


def read_preparation(path: pathlib.Path, recorded: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record of a prepared data set.

    Args:
      path: DIR/NAME, DIR/NAME/VERSION or the JSON file in it.
      recorded: the records in the checkpoint.

    Raises:
      UserError: there is no record, or the checkpoint has another one.
    """
    # Slow to import, and most detectors record their preparation.
    from rffr_jax.data.readers.prepared import compare_preparations, newest_version
    from rffr_jax.data.readers.records import PREPARATION

    try:
        file = newest_version(path) / PREPARATION if path.is_dir() else path
        record = json.loads(file.read_bytes())
        for name, kinds in _FIELD_TYPES.items():
            if type(record[name]) not in kinds:
                raise TypeError(f"{name} is {record[name]!r}")
        FaceRecipe(**recorded_fields(record))
    except OSError as error:
        reason = f"{error.filename}: {(error.strerror or str(error)).lower()}"
    except KeyError as error:
        reason = f"it has no {error.args[0]}"
    except (TypeError, ValueError, RecursionError, UserError) as error:
        reason = " ".join(f"{error}".split())[:200]
    else:
        different = [compare_preparations([one, record]) for one in recorded]
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


_FIELD_TYPES = {
    "detector": (str,),
    "weights_sha256": (str,),
    "smallest_face": (int,),
    "size": (int,),
    "scale": (int, float),
    "alignment": (str,),
    "interpolation": (str,),
    "image_format": (str,),
}
