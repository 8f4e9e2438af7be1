"""The faces of one file, found and cut out by the code that prepares training data.

Evenly spaced frames of a video are searched. Faces of successive frames are joined to tracks, and
every track is one face of the file. Faces that are far apart are never joined: the mean of two
people could hide that one is fake, while a person in two tracks is only shown twice. Crops
are kept in the preparation's image format until the tracks are known, so a detector reads the same
pixels as from prepared records.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rffr_jax.errors import BadImageError
from rffr_jax.faces.crop import crop_face
from rffr_jax.faces.detectors import explain_no_face, load_detector
from rffr_jax.faces.face import Face
from rffr_jax.faces.frames import Frame, read_frames
from rffr_jax.faces.tracking import find_tracks
from rffr_jax.images.decode import (
    holds_several_pictures,
    resize_to_square,
    supported_formats,
)
from rffr_jax.images.image_formats import decode_crop, encode_crop
from rffr_jax.predict.face_settings import GIVEN, FaceSettings
from rffr_jax.predict.inputs import IMAGE, InputFile
from rffr_jax.predict.quality import too_small_reason, unusable_reason
from rffr_jax.predict.video_index import index_video, sample_frames
from rffr_jax.runs.atomic_files import sha256

SEVERAL_PICTURES = (
    "an animation, or a file of several pages, is not read; save one picture as PNG, or all of "
    "them as a video"
)
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


@dataclasses.dataclass(frozen=True, eq=False)
class Sighting:
    """A face in one frame.

    Attributes:
      frame: number of the frame, 0 for a photograph.
      time: seconds from the file's start.
      box: left, top, right, bottom in pixels of the upright frame; None for a crop that was given.
      crop: what the detector reads, or would read.
      reason: why the detector cannot score it; '' where it can.
    """

    frame: int
    time: float
    box: tuple[float, float, float, float] | None
    crop: UInt8[np.ndarray, "size size 3"]
    reason: str = ""

    @property
    def usable(self) -> bool:
        return not self.reason


@dataclasses.dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces of a file.

    Attributes:
      path: of the file.
      sha256: of its bytes; '' where it cannot be read.
      source: `kind, codec, width, height` and, of a video, `frames, seconds, frames_looked_at`;
        `conversions` where decoded pixels were changed, such as "tone-mapped from HLG".
      faces: sightings of each face, by time; usable faces first, larger before smaller ones.
      left_out: how many smaller faces were left out.
      reason: why there is no face; '' where there are some.
    """

    path: pathlib.Path
    sha256: str
    source: dict[str, Any] | None
    faces: Sequence[Sequence[Sighting]]
    left_out: int = 0
    reason: str = ""


def find_faces(file: InputFile, settings: FaceSettings, image_size: int) -> FoundFaces:
    """The faces of a file; a file or face that cannot be used has a reason.

    Args:
      image_size: of the crops that the detector reads, in pixels.

    Raises:
      UserError: a package that reads videos or finds faces is missing.
    """
    sha256, source = "", None
    try:
        if not file.kind:
            return FoundFaces(file.path, _digest(file.path), None, (), reason=file.reason)
        sha256 = _digest(file.path)
        if file.kind == IMAGE:
            source, several = _image_facts(file.path)
            if several:
                return FoundFaces(file.path, sha256, source, (), reason=SEVERAL_PICTURES)
            frames = read_frames(file.path, photograph=True)
        else:
            index = index_video(file.path)
            source = {
                "kind": file.kind,
                "codec": index.codec,
                "width": index.width,
                "height": index.height,
                "frames": index.total,
                "seconds": round(index.seconds, 3),
            }
            frames = sample_frames(file.path, index, settings.frames)
        return _find_in_frames(file, sha256, source, frames, settings, image_size)
    except BadImageError as error:
        reason = error.reason
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    except (cv2.error, MemoryError) as error:
        reason = f"too large or misshapen to be searched ({type(error).__name__})"
    return FoundFaces(file.path, sha256, source, (), reason=f"unreadable: {reason}")


def find_faces_in_pixels(
    pixels: UInt8[np.ndarray, "height width 3"], settings: FaceSettings, image_size: int
) -> FoundFaces:
    """The faces of an RGB image in memory.

    Raises:
      UserError: a package that finds faces is missing.
    """
    height, width, _ = pixels.shape
    source = {"kind": IMAGE, "codec": None, "width": width, "height": height}
    file = InputFile(pathlib.Path("image in memory"), IMAGE)
    return _find_in_frames(file, "", source, iter([Frame(0, pixels)]), settings, image_size)


def _find_in_frames(
    file: InputFile,
    sha256: str,
    source: dict[str, Any],
    frames: Iterator[Frame],
    settings: FaceSettings,
    image_size: int,
) -> FoundFaces:
    frames = _count_frames(frames, source)
    if settings.faces == GIVEN:
        sightings = [
            _sighting(frame, None, resize_to_square(frame.image, image_size), settings, image_size)
            for frame in frames
        ]
        return FoundFaces(file.path, sha256, source, [sightings])
    detector = load_detector(settings.detector, settings.weights)
    times: list[Frame] = []  # without their pixels
    faces_by_frame: list[list[Face]] = []
    encoded: list[dict[int, bytes]] = []  # of each frame the crops, by the identity of the face
    beyond, no_face = 0, ""
    for frame in frames:
        no_face = explain_no_face(*frame.image.shape[:2])
        faces = [face for face in detector.detect(frame.image) if face.shorter_side >= 1]
        faces.sort(key=lambda face: face.shorter_side, reverse=True)
        largest = faces[: 2 * settings.most_faces]
        beyond = max(beyond, len(faces) - len(largest))
        times.append(dataclasses.replace(frame, image=_NO_PIXELS))
        faces_by_frame.append(largest)
        crops = {id(face): crop_face(frame.image, face, settings.crop).image for face in largest}
        encoded.append(
            {key: encode_crop(crop, settings.image_format) for key, crop in crops.items()}
        )
    tracks = find_tracks(faces_by_frame, join_far=False)
    if not tracks:
        return FoundFaces(file.path, sha256, source, (), reason=no_face)
    smallest = settings.smallest_face
    tracks.sort(key=lambda track: all(face.shorter_side < smallest for face in track.values()))

    def sighting(number: int, face: Face) -> Sighting:
        name = os.fspath(file.path)
        data = encoded[number][id(face)]
        crop = decode_crop(data, settings.image_format, image_size, name)
        return _sighting(times[number], face, crop, settings, image_size)

    found = [
        [sighting(number, face) for number, face in track.items()]
        for track in tracks[: settings.most_faces]
    ]
    left_out = max(0, len(tracks) - settings.most_faces) + beyond
    return FoundFaces(file.path, sha256, source, found, left_out)


def _count_frames(frames: Iterator[Frame], source: dict[str, Any]) -> Iterator[Frame]:
    """The same frames; their number so far is a video's `frames_looked_at`."""
    for number, frame in enumerate(frames, 1):
        if frame.conversions:
            source["conversions"] = list(frame.conversions)
        if "frames" in source:
            source["frames_looked_at"] = number
        yield frame


def _sighting(
    frame: Frame,
    face: Face | None,
    crop: UInt8[np.ndarray, "size size 3"],
    settings: FaceSettings,
    image_size: int,
) -> Sighting:
    box, reason = None, ""
    if face is not None:
        left, top, right, bottom = (round(float(edge), 1) for edge in face.box)
        box = (left, top, right, bottom)
        side, known = face.shorter_side, settings.preparation_known
        reason = too_small_reason(side, settings.smallest_face, image_size, known=known)
    reason = reason or unusable_reason(crop, settings.darkest, settings.least_sharpness)
    return Sighting(frame.index, frame.time, box, crop, reason)


def _digest(path: pathlib.Path) -> str:
    """SHA-256 of a file's bytes; '' where it is no file, or cannot be read."""
    try:
        return sha256(path) if path.is_file() else ""
    except OSError:
        return ""


def _image_facts(path: pathlib.Path) -> tuple[dict[str, Any], bool]:
    """Kind, format and size as the header says, and whether the file holds several pictures.

    No pixel is decoded.
    """
    facts: dict[str, Any] = {"kind": IMAGE, "codec": None, "width": None, "height": None}
    try:
        with Image.open(path, formats=supported_formats()) as image:
            facts |= {"codec": (image.format or "").lower()}
            facts["width"], facts["height"] = image.size
            return facts, holds_several_pictures(image)
    except Exception:  # `read_frames` says what is wrong with it
        return facts, False
