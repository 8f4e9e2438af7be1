"""Faces of whole photographs and frames, cut out again after the whole picture was corrupted.

Videos and photographs are compressed and resized before a face is cut out. The JPEG of a whole
frame has another grid than that of a crop: its blocks are other parts of the face. The faces are
found once, in the clean picture, so that all levels score the same faces.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rffr_jax.data.readers.prepared import collect_preparations
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.evaluation import metrics
from rffr_jax.examples import Dataset, Example
from rffr_jax.faces.crop import CropSettings, crop_face
from rffr_jax.faces.face import Face
from rffr_jax.faces.frames import Frame
from rffr_jax.faces.manipulated_face import LARGEST
from rffr_jax.faces.prepare import PreparationSettings, take_faces
from rffr_jax.faces.recipe import choose_recorded, recorded_fields
from rffr_jax.images.corruptions import CORRUPTIONS, Level
from rffr_jax.images.decode import read_full_image
from rffr_jax.images.image_formats import decode_crop, encode_crop

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FrameFaces:
    """A `Dataset` of faces in whole pictures.

    Attributes:
      examples: one a face.
      pictures: for each face the file of its whole clean picture.
      faces: where it lies there.
      crop: how it is cut out.
      image_format: that crops were stored in when the detector was trained.
      corruption: kind of `CORRUPTIONS` and level that the whole picture goes through, if any.
    """

    examples: tuple[Example, ...]
    pictures: tuple[pathlib.Path, ...]
    faces: tuple[Face, ...]
    crop: CropSettings
    image_format: str
    corruption: tuple[str, Level] | None = None

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB crop of face `index`, in [0, 255]."""
        example = self.examples[index]
        picture = read_full_image(self.pictures[index])
        if self.corruption is not None:
            kind, level = self.corruption
            picture = CORRUPTIONS[kind](picture, level, f"{example.dataset}/{example.id}")
        crop = crop_face(picture, self.faces[index], self.crop).image
        return decode_crop(
            encode_crop(crop, self.image_format), self.image_format, size, example.path
        )

    def corrupted(self, kind: str, level: Level) -> "FrameFaces":
        """The same faces of corrupted pictures."""
        return dataclasses.replace(self, corruption=(kind, level))


class FaceFinder:
    """Finds the faces of test media as those of a detector's training were found.

    Attributes:
      about: the settings, with the SHA-256 of the face detector's weights and whether they are
        those of the training faces (`preparation_known`).
      without_face: by test set why media have no face, by their ids.
      several_faces: by test set what told which face is taken of media that show several, as in
        `faces.part_file.Part.told_by`.
    """

    def __init__(self, preparations: Sequence[Mapping[str, Any]], weights: pathlib.Path | None):
        """
        Args:
          preparations: of the training faces, as the checkpoint records them; the first is used.
          weights: the face detector's own file; None for those of RetinaFace's package.

        Raises:
          UserError: the face detector or its weights are missing, or other weights are recorded.
        """
        if preparations:
            otherwise = "prepare the test faces and use --config.on=crops"
            recorded = choose_recorded(preparations, weights, otherwise)
            self._settings = PreparationSettings(
                **recorded_fields(recorded),
                weights=weights,
                faces=recorded.get("faces", LARGEST),  # earlier versions knew no other
            )
        else:
            log.warning(
                "how the training faces of this detector were found is not known: faces are found "
                "and cut out as scripts/prepare_faces.py does by default"
            )
            self._settings = PreparationSettings(weights=weights)
        self.about = self._settings.to_json() | {"preparation_known": bool(preparations)}
        del self.about["frames"]
        self.without_face: dict[str, dict[str, str]] = {}
        self.several_faces: dict[str, dict[str, str]] = {}

    def refuse_records(self, media: Mapping[str, Dataset]) -> None:
        """Raises: UserError if a test set holds prepared records, which are crops."""
        for spec, dataset in media.items():
            if collect_preparations(dataset):
                raise UserError(
                    f"data.tests={spec}: on=frames corrupts whole pictures, and prepared records "
                    "hold crops; name photographs and videos by csv:FILE, or use --config.on=crops"
                )

    def find(
        self, media: Mapping[str, Dataset], folder: pathlib.Path, frames: int
    ) -> list[FrameFaces]:
        """The faces of each test set.

        Args:
          media: by spec; their examples' paths are photographs and videos.
          folder: where the clean pictures are written, until nobody needs them.
          frames: of a video, evenly spaced; 0 takes all.

        Raises:
          UserError: a test set has no faces, or only reals or fakes; the decoder is missing.
        """
        sets = []
        for number, (spec, dataset) in enumerate(media.items()):
            pictures = folder / f"{number}"
            pictures.mkdir()
            without = self.without_face.setdefault(spec, {})
            told_by = self.several_faces.setdefault(spec, {})
            faces = _find_faces(dataset, pictures, self._settings, frames, without, told_by)
            if not faces.examples:
                name, reason = next(iter(without.items()))
                raise UserError(
                    f"data.tests={spec}: a face was found in none of {len(without)} media (the "
                    f"first, {name}: {reason}); name whole photographs and videos, or use "
                    "--config.on=crops"
                )
            metrics.require_both_classes(np.array([e.label for e in faces.examples]), spec)
            sets.append(faces)
        return sets


def _find_faces(
    media: Dataset,
    folder: pathlib.Path,
    settings: PreparationSettings,
    frames: int,
    without: dict[str, str],
    told_by: dict[str, str],
) -> FrameFaces:
    """The faces of every photograph and of evenly spaced frames of every video.

    Of several faces those are taken that a preparation takes. Masks are not known; the manipulated
    face is the one that differs from the original, where the medium's `source` is among the media.

    Args:
      without: gets the ids of media without a face, with the reason.
      told_by: gets the ids of media with several, with what told which is taken.
    """
    originals, fakes = _counterparts(media.examples)
    examples, pictures, faces = [], [], []
    for number, medium in enumerate(media.examples):
        (folder / f"{number}").mkdir()

        def keep(frame: Frame, there: Sequence[Face], at: int = number):
            if there:
                file = _picture_file(folder, at, frame.index)
                Image.fromarray(frame.image).save(file, compress_level=1)

        counterparts = originals if medium.label else fakes
        source = (medium.dataset, medium.source)
        other = counterparts.get((*source, medium.frame)) or counterparts.get(source)
        others = {"original" if medium.label else "fake": other}
        try:
            found = take_faces(pathlib.Path(medium.path), settings, frames or None, keep, **others)
        except BadImageError as error:
            without[medium.id] = error.reason
            continue
        if not found.faces:
            without[medium.id] = next(iter(found.reasons.values()))
        if found.told_by:
            told_by[medium.id] = found.told_by
        for frame, there in found.faces.items():
            for place, face in enumerate(there):
                name = f"{medium.id}#{frame}" + (f"-{place}" if place else "")
                examples.append(dataclasses.replace(medium, id=name, frame=frame))
                pictures.append(_picture_file(folder, number, frame))
                faces.append(face)
    return FrameFaces(
        tuple(examples), tuple(pictures), tuple(faces), settings.crop, settings.image_format
    )


def _picture_file(folder: pathlib.Path, medium: int, frame: int) -> pathlib.Path:
    return folder / f"{medium}" / f"{frame}.png"


_Counterparts = dict[tuple[str, str] | tuple[str, str, int], pathlib.Path]


def _counterparts(examples: Sequence[Example]) -> tuple[_Counterparts, _Counterparts]:
    """The first original and the first fake of each data set and source, and of each frame."""
    originals: _Counterparts = {}
    fakes: _Counterparts = {}
    for example in examples:
        there = fakes if example.label else originals
        source = (example.dataset, example.source)
        for key in (source, (*source, example.frame)):
            there.setdefault(key, pathlib.Path(example.path))
    return originals, fakes
