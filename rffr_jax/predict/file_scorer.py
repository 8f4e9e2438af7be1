"""One run over files: their faces found, scored a batch at a time, shown and written down."""

import importlib.metadata
import logging
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from rffr_jax import __version__
from rffr_jax.cluster.interruption import InterruptedRunError, StopRequest
from rffr_jax.config import Config
from rffr_jax.errors import BadImageError
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.evaluation.evaluate import PACKAGES
from rffr_jax.faces.frames import ffmpeg_error
from rffr_jax.predict.annotated_video import annotate_video
from rffr_jax.predict.decision_rule import DecisionRule, decision_rules
from rffr_jax.predict.detector import LoadedDetector
from rffr_jax.predict.evidence import draw_evidence
from rffr_jax.predict.face_finding import FoundFaces, find_faces
from rffr_jax.predict.face_settings import FaceSettings
from rffr_jax.predict.finished_files import FinishedFiles
from rffr_jax.predict.inputs import IMAGE, VIDEO, InputFile
from rffr_jax.predict.parts import ALONE, Part
from rffr_jax.predict.progress import Progress
from rffr_jax.predict.read_ahead import read_ahead
from rffr_jax.predict.records import (
    as_sentence,
    describe_score,
    describe_status,
    face_record,
    file_record,
    largest_sighting,
)
from rffr_jax.predict.timeline import score_peaks
from rffr_jax.runs.atomic_files import describe_disk_error

log = logging.getLogger(__name__)

EVIDENCE, ANNOTATED = "evidence", "annotated"
CROP_QUALITY = 90  # JPEG
_FACES_PACKAGES = ("av", "onnxruntime", "opencv-python-headless")


class FileScorer:
    """One run: its detector, its settings and what is finished of it."""

    def __init__(
        self,
        config: Config,
        workdir: pathlib.Path,
        detector: LoadedDetector,
        settings: FaceSettings,
        part: Part = ALONE,
    ):
        self._config, self._workdir = config, workdir
        self._detector, self._settings = detector, settings
        score = VideoScore.of(config.aggregate, config.top_k, config.frames_per_video)
        self.decision_rules = decision_rules(detector.point, config.threshold, score)
        self.about = self._about()
        self.depends_on = {name: self.about[name] for name in self.about if name != "command"}
        self.finished = FinishedFiles(part.folder(workdir), self.depends_on)

    def score_files(self, files: Sequence[InputFile]):
        """Scores what is not finished, a batch of faces at a time, whatever file they are of."""
        todo = [file for file in files if file.path not in self.finished]
        if len(todo) < len(files):
            log.info("%d of %d files were looked at before", len(files) - len(todo), len(files))
        size, workers = self._detector.image_size, self._config.data.workers
        found_in = read_ahead(lambda file: find_faces(file, self._settings, size), todo, workers)
        with StopRequest() as stop, Progress(len(todo)) as progress:
            for number, group in enumerate(_groups(found_in, self._config.batch_size)):
                self._finish(group)
                progress.add(len(group))
                if stop.should_stop(number):
                    raise InterruptedRunError(
                        "stopped by a signal; the same command goes on with the next file"
                    )

    def _finish(self, group: Sequence[FoundFaces]):
        """Scores, pictures and records of some files."""
        size = self._detector.image_size
        crops = [_crops(face) for found in group for face in found.faces]
        images = np.stack([crop for face in crops for crop in face] or [np.zeros((size, size, 3))])
        images = images.astype(np.uint8)[: sum(map(len, crops))]
        scores, differences = self._detector.score_crops(images)
        ends = np.cumsum([len(face) for face in crops], dtype=int)
        of_face = iter(np.split(scores, ends[:-1]) if crops else [])
        peaks: list[int] = []
        shown: list[tuple[dict[str, Any], DecisionRule]] = []
        first, records = 0, []
        for found in group:
            faces = []
            decision = self.decision_rules[found.source["kind"] if found.source else IMAGE]
            for sightings in found.faces:
                own = next(of_face)
                record = face_record(
                    sightings, own, decision.value, self._config.aggregate, self._config.top_k
                )
                picture = f"{EVIDENCE}/{_picture_name(found)}-face{len(faces)}"
                if not len(own):
                    record["picture"] = f"{picture}.jpg"
                    self._keep_crop(record["picture"], largest_sighting(sightings).crop)
                else:
                    record["probability"] = decision.probability(record["score"])
                    peaks.append(first + int(own.argmax()))
                    record["evidence"] = f"{picture}.png"
                    shown.append((record, decision))
                    if len(own) > 1:
                        record["peaks"] = self._keep_peaks(picture, record, images[first:])
                first += len(own)
                faces.append(record)
            records.append(file_record(found, faces, found.source and decision.record(faces)))
            if self._config.annotate:
                records[-1]["annotated"] = self._annotate(found, records[-1])
        self._draw(images, scores, differences, peaks, shown)
        for found, record in zip(group, records, strict=True):
            self.finished.add(found.path, record)

    def _draw(
        self,
        images,
        scores,
        differences,
        peaks: list[int],
        faces: list[tuple[dict[str, Any], DecisionRule]],
    ):
        if not peaks:
            return
        some = None if differences is None else differences[peaks]
        explained = self._detector.explain_crops(images[peaks], scores[peaks], some)
        for shown, (record, decision) in zip(explained, faces, strict=True):
            draw_evidence(
                self._workdir / record["evidence"],
                shown,
                self._detector.blocks,
                self._detector.patch_size,
                self._detector.alpha,
                self._caption(record, decision),
                self._detector.reference,
            )

    def _annotate(self, found: FoundFaces, record: dict[str, Any]) -> str | None:
        """Writes a video with boxes and scores, and says where; None for what is none, and for a
        video without a face."""
        if not record["faces"] or record["source"]["kind"] != VIDEO:
            return None
        place = f"{ANNOTATED}/{_picture_name(found)}.mp4"
        threshold = record["threshold"]
        said = [
            describe_status(record, threshold["value"]),
            *threshold["doubts"],
            self._detector.note,
        ]
        band = " ".join(map(as_sentence, said))
        how, top_k = self._config.aggregate, self._config.top_k
        try:
            annotate_video(
                self._workdir / place,
                found.path,
                record,
                threshold["value"],
                how=how,
                top_k=top_k,
                band=band,
            )
        except (BadImageError, ffmpeg_error()) as error:
            if describe_disk_error(error):
                raise
            log.warning("%s was scored and could not be written again: %s", found.path, error)
            return None
        return place

    def _keep_peaks(
        self, picture: str, record: dict[str, Any], crops: np.ndarray
    ) -> list[dict[str, Any]]:
        """Writes the crops at which the score peaks in time, and says where they are."""
        peaks = []
        for index in score_peaks([frame["score"] for frame in record["frames"]]):
            frame = record["frames"][index]
            place = f"{picture}-frame{frame['frame']}.jpg"
            self._keep_crop(place, crops[index])
            peaks.append({name: frame[name] for name in ("time", "frame", "score")})
            peaks[-1]["picture"] = place
        return peaks

    def _keep_crop(self, place: str, crop: np.ndarray):
        (self._workdir / EVIDENCE).mkdir(exist_ok=True)
        Image.fromarray(crop).save(self._workdir / place, quality=CROP_QUALITY)

    def _caption(self, record: dict[str, Any], decision: DecisionRule) -> str:
        caption = describe_score(record, decision.value)
        if len(record["frames"]) > 1:
            peak = record["peak"]
            caption += (
                f" ({self._config.aggregate} of {len(record['frames'])} frames); shown: frame "
                f"{peak['frame']} at {peak['time']:.2f} s, the one with the highest score"
            )
        said = [caption, *decision.doubts([record]), self._detector.note]
        return " ".join(map(as_sentence, said))

    def _about(self) -> dict[str, Any]:
        config, detector = self._config, self._detector
        versions = {"rffr_jax": __version__}
        for name in (*PACKAGES, *_FACES_PACKAGES):
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return {
            "note": detector.note,
            "command": re.sub(r" --config\.part=\S+", "", config.command),
            "detector": {
                "path": str(detector.folder),
                "checkpoint": detector.checkpoint,
                "digest": detector.digest,
                "trained_datasets": detector.about["trained_datasets"],
                "trained_methods": detector.about["trained_methods"],
            },
            **detector.point.to_json(),
            "thresholds": {medium: one.to_json() for medium, one in self.decision_rules.items()},
            "residual_reference": detector.reference and detector.reference.origin(),
            "aggregate": {"how": config.aggregate, "top_k": config.top_k},
            "annotate": config.annotate,
            "preprocessing": {
                **detector.about["detection"],
                "faces": self._settings.to_json(),
            },
            "versions": versions,
        }


def _crops(sightings) -> list[np.ndarray]:
    return [sighting.crop for sighting in sightings if sighting.judged]


def _groups(found_in: Iterable[FoundFaces], batch_size: int) -> Iterator[list[FoundFaces]]:
    """Files that have a batch of crops together, or are very many."""
    group: list[FoundFaces] = []
    crops = 0
    for found in found_in:
        group.append(found)
        crops += sum(len(_crops(face)) for face in found.faces)
        if crops >= batch_size or len(group) >= 4 * batch_size:
            yield group
            group, crops = [], 0
    if group:
        yield group


def _picture_name(found: FoundFaces) -> str:
    """Of the file's name and content, so that files of one name do not meet."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", found.path.stem)[:80]
    return f"{stem}-{found.sha256[:10]}"
