"""Faces of whole photographs and frames, cut out again after the whole picture was corrupted.

What the world does to a video or photograph happens before a face is cut out: a JPEG of the whole
frame has another grid, and its blocks are other parts of the face. The faces are found once, in the
clean picture, so that all levels score the same faces.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Dataset, Example
from rffr_jax.faces.crop import CropSettings, crop_face
from rffr_jax.faces.detectors import load_detector
from rffr_jax.faces.face import Face
from rffr_jax.faces.frames import read_frames
from rffr_jax.faces.tracking import find_tracks
from rffr_jax.images.corruptions import CORRUPTIONS, Level
from rffr_jax.images.decode import read_full_image
from rffr_jax.images.image_formats import decode_crop, encode_crop

log = logging.getLogger(__name__)

DEFAULTS = {**dataclasses.asdict(CropSettings()), "detector": "retinaface", "image_format": "jpeg"}


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


def find_frame_faces(
    media: Dataset, folder: pathlib.Path, preparations: Sequence[Mapping[str, Any]], frames: int
) -> tuple[FrameFaces, dict[str, str]]:
    """The largest face of every photograph, and of evenly spaced frames of every video.

    Args:
      media: its examples' paths are photographs and videos.
      folder: where the clean pictures are written, until nobody needs them.
      preparations: how the detector's training faces were cut out; the first one is used.
      frames: of a video; 0 takes all.

    Returns:
      The faces, and why a medium has none, by its id.

    Raises:
      UserError: the face detector or the decoder of videos is missing.
    """
    settings = DEFAULTS | dict(preparations[0] if preparations else {})
    if not preparations:
        log.warning(
            "how the training faces of this detector were cut out is not known: faces are cut out "
            "as scripts/prepare_faces.py does by default"
        )
    if settings["detector"] != "retinaface":
        raise UserError(
            "on=frames finds faces by RetinaFace, and the detector's training faces were found by "
            f"{settings['detector']}; prepare the test faces and use --config.on=crops"
        )
    crop = CropSettings(**{f.name: settings[f.name] for f in dataclasses.fields(CropSettings)})
    examples, pictures, faces, without = [], [], [], {}
    for number, medium in enumerate(media.examples):
        try:
            found = _main_faces(medium, folder / f"{number}", frames)
        except BadImageError as error:
            without[medium.id] = error.reason
            continue
        if not found:
            without[medium.id] = "no face"
        for place, (picture, face) in found.items():
            examples.append(dataclasses.replace(medium, id=f"{medium.id}#{place}", frame=place))
            pictures.append(picture)
            faces.append(face)
    shown = FrameFaces(
        tuple(examples), tuple(pictures), tuple(faces), crop, settings["image_format"]
    )
    return shown, without


def _main_faces(
    medium: Example, folder: pathlib.Path, frames: int
) -> dict[int, tuple[pathlib.Path, Face]]:
    """File and face of every frame in which the face of a medium is to be seen, by its number."""
    detector = load_detector("retinaface", None)
    folder.mkdir()
    pictures, there = {}, []
    for frame in read_frames(medium.path, frames or None):
        there.append(detector.detect(frame.image))
        pictures[frame.index] = folder / f"{frame.index}.png"
        Image.fromarray(frame.image).save(pictures[frame.index], compress_level=1)
    tracks = find_tracks(there)
    numbers = list(pictures)
    main = tracks[0] if tracks else {}
    return {numbers[at]: (pictures[numbers[at]], face) for at, face in main.items()}
