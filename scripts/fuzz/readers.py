"""The parts of the program that read a file: each returns what became of it."""

import json
import os
import pathlib

import numpy as np

from rffr_jax.errors import BadImageError
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.faces.frame_folder import file_stamp
from rffr_jax.predict.annotated_video import annotate_video
from rffr_jax.predict.detector import load_detector
from rffr_jax.predict.face_finding import find_faces
from rffr_jax.predict.face_settings import GIVEN, FaceSettings
from rffr_jax.predict.finished_files import FinishedFiles
from rffr_jax.predict.inputs import VIDEO, find_files
from rffr_jax.predict.predictions_file import write_predictions
from rffr_jax.predict.records import face_record, file_record
from scripts.fuzz import http_requests
from scripts.fuzz.kinds import IMAGES, SIZE
from scripts.fuzz.mutations import mutate
from scripts.fuzz.whole_files import unjudged_record


def find_faces_of(room: pathlib.Path, file: pathlib.Path) -> str:
    """The faces of an image or a video, and a video written again."""
    settings = FaceSettings(faces=GIVEN, darkest=0.0, least_sharpness=0.0, frames=4)
    (found,) = [find_faces(one, settings, SIZE) for one in find_files([os.fspath(file)])]
    faces = []
    for sightings in found.faces:
        assert all(s.usable and s.crop.shape == (SIZE, SIZE, 3) for s in sightings)
        scores = np.full(len(sightings), 0.25)
        faces.append(face_record(sightings, scores, 0.5, "mean", 1))
    record = file_record(found, faces, None)
    json.dumps(record, allow_nan=False)
    assert bool(record["reason"]) == (not faces)
    if record["score"] is not None and record["source"]["kind"] == VIDEO:
        try:
            score = VideoScore("mean", 0, settings.frames)
            annotate_video(room / "a.mp4", file, record, 0.5, video_score=score, band="Score.")
        except BadImageError as error:  # `FileScorer` logs it and continues
            return f"used, not written again: {error.reason}"
    return record["reason"] or "used"


def resume(room: pathlib.Path, file: pathlib.Path) -> str:
    """A run that resumes with the records of an earlier one."""

    paths = [room.parent / "whole" / name for name in IMAGES]
    finished = FinishedFiles(room, {"threshold": 0.5})
    known = sum(path in finished for path in paths)
    for path in paths:
        if path not in finished:
            finished.add(path, unjudged_record(path), file_stamp(path))
    about = {"note": ""}
    write_predictions(room / "out", about, finished.records(paths))
    written = json.loads((room / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert written["files"] == [unjudged_record(path) for path in paths]
    return f"used, {known} of {len(paths)} records kept"


def load(room: pathlib.Path, file: pathlib.Path) -> str:
    """A detector, from its workdir or its model folder."""
    detector = load_detector(room / file.relative_to(room).parts[0])
    assert 0 <= detector.threshold <= 1
    return "used"


def upload(room: pathlib.Path, file: pathlib.Path) -> str:
    """An upload to the HTTP API, in a request that may be broken, too."""
    return http_requests.send_upload(
        room, file, lambda part, rng: mutate(part, part, rng, is_json=False)
    )


READERS = {
    "image": find_faces_of,
    "video": find_faces_of,
    "finished": resume,
    "detector": load,
    "model": load,
    "request": upload,
}
