"""One medium in, the records of its faces out: the function that every runner maps.

The wanted frames are decoded in one pass, a face is followed through them, and one warp cuts each
crop from its decoded frame. A frame without a face is recorded with the reason.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rffr_jax.data.readers.records import LANDMARKS_KEY, FaceRecord
from rffr_jax.data.selection import evenly_spaced
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces.crop import crop_face, crop_matrix
from rffr_jax.faces.detectors import (
    detect_many,
    explain_no_face,
    frames_at_once,
    load_detector,
)
from rffr_jax.faces.face import Face
from rffr_jax.faces.frame_counts import ALL, FRAMES
from rffr_jax.faces.frame_folder import file_stamp
from rffr_jax.faces.frames import Frame, frame_numbers, read_frames, read_header
from rffr_jax.faces.landmark_models import LandmarkModel, load_landmark_model
from rffr_jax.faces.manipulated_face import LARGEST, Track, choose_face
from rffr_jax.faces.media import SPLITS, Medium
from rffr_jax.faces.part_file import Drop, Part
from rffr_jax.faces.recipe import FaceRecipe
from rffr_jax.faces.tracking import find_tracks
from rffr_jax.images.alignment import transform_points
from rffr_jax.images.image_formats import encode_crop
from rffr_jax.images.landmarks import ALL as ALL_LANDMARKS
from rffr_jax.images.landmarks import FIVE

MANIPULATED = "manipulated"
FACES = (MANIPULATED, LARGEST, ALL)


@dataclasses.dataclass(frozen=True)
class PreparationSettings(FaceRecipe):
    """How faces are prepared; the same for every medium of a data set, real or fake.

    Attributes:
      frames: for each split how many evenly spaced frames of a video; None is all of them.
      faces: which face of several is taken, one of `FACES`.
      landmarks: how many points a record has: the detector's 5, or 68.
      landmarks_weights: an ONNX file that finds the 68; None takes dlib's model.

    Raises:
      UserError: a setting that is not known or out of range.
    """

    frames: Mapping[str, int | None] = dataclasses.field(default_factory=lambda: FRAMES)
    faces: str = MANIPULATED
    landmarks: int = FIVE
    landmarks_weights: pathlib.Path | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.faces not in FACES:
            raise UserError(f"--faces {self.faces!r} is not known; give {', '.join(FACES)}")
        if self.landmarks not in (FIVE, ALL_LANDMARKS):
            raise UserError(f"--landmarks {self.landmarks}: give {FIVE} or {ALL_LANDMARKS}")

    def to_json(self) -> dict[str, Any]:
        """The settings that records depend on, for `preparation.json` and to tell what may resume.

        Raises:
          UserError: the detector, the model of landmarks or the decoder is missing.
        """
        model = self.landmark_model()
        return {
            "detector": self.detector,
            "weights_sha256": load_detector(self.detector, self.weights).digest,
            LANDMARKS_KEY: model and model.digest,
            "faces": self.faces,
            "smallest_face": self.smallest_face,
            **dataclasses.asdict(self.crop),
            "decoder": _decoder(),
            "image_format": self.image_format,
            "frames": {split: self.frames[split] or ALL for split in SPLITS},
        }

    def landmark_model(self) -> LandmarkModel | None:
        """What finds the 68 landmarks of a record; None where it has the detector's five.

        Raises:
          UserError: the model is missing.
        """
        if self.landmarks == FIVE:
            return None
        return load_landmark_model(self.landmarks_weights)


def _decoder() -> str:
    try:
        return f"PyAV {importlib.metadata.version('av')}"
    except importlib.metadata.PackageNotFoundError:
        raise UserError("videos are read by PyAV; pip install 'rffr-jax[faces]'") from None


def prepare_medium(
    medium: Medium,
    original: pathlib.Path | None,
    settings: PreparationSettings,
    *,
    fake: pathlib.Path | None = None,
    mask: pathlib.Path | None = None,
) -> Part:
    """The records of one medium; its files are those of `take_faces`.

    Raises:
      OSError: the machine's fault and not the file's, such as too many open files.
    """
    made_from = input_digest(medium, original, fake, mask)
    records: dict[int, FaceRecord] = {}  # by the identity of the face, so that no frame is kept

    def make_records(frame: Frame, faces: Sequence[Face]):
        records.update({id(face): _make_record(medium, frame, face, settings) for face in faces})

    try:
        count = settings.frames[medium.split]
        found = take_faces(
            medium.path, settings, count, make_records, original=original, fake=fake, mask=mask
        )
        header = read_header(medium.path)
    except BadImageError as error:
        return Part(medium.id, made_from, 0, (), (Drop(None, error.reason),))
    saved = header.to_text() if header else ""
    taken = [
        dataclasses.replace(records[id(face)], id=_face_id(medium.id, number, i), original=saved)
        for number, faces in found.faces.items()
        for i, face in enumerate(faces)
    ]
    drops = tuple(Drop(number, reason) for number, reason in found.reasons.items())
    frames = len(found.faces) + len(drops)
    return Part(medium.id, made_from, frames, tuple(taken), drops, found.told_by)


@dataclasses.dataclass(frozen=True)
class TakenFaces:
    """The faces of a medium that are taken.

    Attributes:
      faces: by the number of their frame; no frame without a face.
      reasons: of the other frames, why they have none.
      told_by: as in `Part.told_by`.
    """

    faces: Mapping[int, Sequence[Face]]
    reasons: Mapping[int, str]
    told_by: str


def take_faces(
    path: pathlib.Path,
    settings: PreparationSettings,
    count: int | None,
    keep: Callable[[Frame, Sequence[Face]], None],
    *,
    original: pathlib.Path | None = None,
    fake: pathlib.Path | None = None,
    mask: pathlib.Path | None = None,
) -> TakenFaces:
    """Finds the faces of a video, a folder of its frames or a photograph; follows and chooses.

    Args:
      path: of the medium.
      count: so many evenly spaced frames; None is all.
      keep: is given every frame with its faces that are large enough, before one is chosen.
      original: the real video that a fake was made from, whose frame numbers the fake uses; None
        where there is none. Where the fake lacks some of them, its frames are spaced over what
        both have. An original that cannot be read counts as none.
      fake: of a real medium, a fake of it, which tells the person that is followed.
      mask: the video of the manipulated area, of the medium itself or of `fake`.

    Raises:
      BadImageError: the medium cannot be read.
    """
    detector = load_detector(settings.detector, settings.weights)
    numbers: list[int] = []
    reasons: list[str] = []
    found: list[list[Face]] = []
    bad: dict[int, str] = {}

    def note(number: int, error: BadImageError):
        bad[number] = f"{pathlib.Path(error.name).name}: {error.reason}"

    frames = read_frames(path, indices=_wanted(path, original, count), on_bad=note)
    while several := list(itertools.islice(frames, frames_at_once(detector))):
        for frame, faces in zip(
            several, detect_many(detector, [frame.image for frame in several]), strict=True
        ):
            large = [face for face in faces if face.shorter_side >= settings.smallest_face]
            numbers.append(frame.index)
            reasons.append(_why(frame.image, faces, large, settings.smallest_face))
            found.append(large)
            keep(frame, large)
    tracks = find_tracks(found, join_far=True)
    followed, told_by = _choose(tracks, numbers, path, original or fake, mask, settings.faces)
    taken = {
        number: faces
        for place, number in enumerate(numbers)
        if (faces := [track[place] for track in followed if place in track])
    }
    without = dict(sorted((bad | dict(zip(numbers, reasons, strict=True))).items()))
    return TakenFaces(taken, {n: why for n, why in without.items() if n not in taken}, told_by)


def _choose(
    tracks: Sequence[Track],
    numbers: Sequence[int],
    path: pathlib.Path,
    counterpart: pathlib.Path | None,
    mask: pathlib.Path | None,
    faces: str,
) -> tuple[Sequence[Track], str]:
    """The tracks that are taken, and what told them, as in `Part.told_by`."""
    if len(tracks) < 2:
        return tracks, ""
    if faces == ALL:
        return tracks, ALL
    if faces == LARGEST:
        return tracks[:1], LARGEST
    face, told_by = choose_face(tracks, numbers, path, counterpart, mask)
    return [face], told_by


def input_digest(medium: Medium, *others: pathlib.Path | None) -> str:
    """A digest of a part's input: the facts of the medium and the stamps of its files.

    Args:
      others: its original, fake and mask, where they are there.
    """
    facts = medium_facts(medium) | {"file": file_stamp(medium.path)}
    facts["others"] = [other and file_stamp(other) for other in others]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def medium_facts(medium: Medium) -> dict[str, Any]:
    """All that is known of a medium except where its files are."""
    places = ("path", "mask", "original")
    return {name: value for name, value in dataclasses.asdict(medium).items() if name not in places}


def _wanted(path: pathlib.Path, original: pathlib.Path | None, count: int | None) -> list[int]:
    """Numbers of the frames that are taken."""
    numbers = frame_numbers(path)
    if original is not None:
        with contextlib.suppress(BadImageError):
            others = frame_numbers(original)
            wanted = evenly_spaced(others, count)
            if set(wanted) <= set(numbers):
                return wanted
            numbers = sorted(set(numbers) & set(others)) or numbers
    return evenly_spaced(numbers, count)


def _why(
    image: UInt8[np.ndarray, "height width 3"], faces: list[Face], large: list[Face], smallest: int
) -> str:
    """Why a frame gives no record, if it gives none."""
    if not faces:
        return explain_no_face(*image.shape[:2])
    if not large:
        return f"every face is smaller than {smallest} pixels"
    return "the face that is followed is not in this frame"


def _face_id(medium: str, frame: int, place: int) -> str:
    """Of the face at some place among those of a frame."""
    return f"{medium}/{frame:06d}" + (f"-{place}" if place else "")


def _make_record(
    medium: Medium, frame: Frame, face: Face, settings: PreparationSettings
) -> FaceRecord:
    crop = crop_face(frame.image, face, settings.crop)
    landmarks = crop.landmarks
    if model := settings.landmark_model():
        points = model.find(frame.image, face)
        landmarks = transform_points(points, crop_matrix(face, settings.crop))
    return FaceRecord(
        id=_face_id(medium.id, frame.index, 0),
        image=encode_crop(crop.image, settings.image_format),
        label=medium.label,
        dataset=medium.dataset,
        method=medium.method,
        video=medium.video or medium.id,
        frame=frame.index or medium.frame,
        source=medium.source,
        group=medium.group,
        person=medium.person,
        box=face.box,
        landmarks=landmarks,
        score=face.score,
        conversions="; ".join(frame.conversions),
    )
