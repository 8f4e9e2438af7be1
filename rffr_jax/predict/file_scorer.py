"""Files to records: faces are found, scored a batch at a time, drawn and written down."""

import collections
import importlib.metadata
import itertools
import logging
import pathlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tqdm
from PIL import Image

from rffr_jax import __version__
from rffr_jax.cluster.interruption import InterruptedRunError, StopRequest
from rffr_jax.config import Config
from rffr_jax.errors import BadImageError
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.evaluation.scoring import PACKAGES
from rffr_jax.faces.frames import ffmpeg_error
from rffr_jax.predict.annotated_video import annotate_video
from rffr_jax.predict.decision_rule import DecisionRule, decision_rules
from rffr_jax.predict.detector import Crops, LoadedDetector
from rffr_jax.predict.face_finding import FoundFaces, find_faces
from rffr_jax.predict.face_settings import FaceSettings
from rffr_jax.predict.face_views import write_views
from rffr_jax.predict.finished_files import FinishedFiles
from rffr_jax.predict.inputs import IMAGE, VIDEO, InputFile
from rffr_jax.predict.prediction import FacePrediction, predict_faces, usable_crops
from rffr_jax.predict.predictions_file import SCHEMA
from rffr_jax.predict.records import as_sentence, describe_score, describe_status
from rffr_jax.predict.timeline import score_peaks
from rffr_jax.reports.contact_sheet import write_png
from rffr_jax.runs.atomic_files import describe_disk_error

log = logging.getLogger(__name__)

EVIDENCE, ANNOTATED = "evidence", "annotated"
CROP_QUALITY = 90  # JPEG
FAST = 1  # PNG's level of compression
SECONDS_BETWEEN_LINES = 60.0  # of the progress in the log, where there is no terminal
_FACES_PACKAGES = ("av", "onnxruntime", "opencv-python-headless")


class FileScorer:
    """Scores files with one detector and one set of settings.

    Attributes:
      about: the fields of predictions.json that precede its `files`.
      settings: what every record depends on.
      finished: the records of this process's files.
    """

    def __init__(
        self,
        config: Config,
        workdir: pathlib.Path,
        detector: LoadedDetector,
        settings: FaceSettings,
        records_folder: pathlib.Path | None = None,
        views: bool = False,
    ):
        """
        Args:
          records_folder: where finished records are kept; None means the workdir.
          views: writes the images of each evidence apart as well, and each frame's crop (`web`).
        """
        self._config, self._workdir, self._views = config, workdir, views
        self._detector, self._settings = detector, settings
        self._video_score = VideoScore.of(config.aggregate, config.top_k, config.frames_per_video)
        point = detector.operating_point
        self._rules = decision_rules(point, config.threshold, self._video_score)
        self.about = self._about()
        self.settings = {name: self.about[name] for name in self.about if name != "command"}
        self.settings["schema"] = SCHEMA
        self.finished = FinishedFiles(records_folder or workdir, self.settings)

    def score_files(self, files: Sequence[InputFile], stop: StopRequest | None = None):
        """Scores the files that are not finished; a batch may hold faces of several files.

        Args:
          stop: is asked after each batch; without it nothing stops the work.

        Raises:
          InterruptedRunError: it was asked to stop; finished files are kept.
        """
        todo = [file for file in files if file.path not in self.finished]
        if len(todo) < len(files):
            log.info("%d of %d files were looked at before", len(files) - len(todo), len(files))
        found = self._find_ahead(todo)
        stamps = {file.path: file.stamp for file in todo}
        with _Progress(len(todo)) as progress:
            for number, group in enumerate(_group_files(found, self._config.batch_size)):
                self._score_group(group, stamps)
                progress.add(len(group))
                if stop and stop.should_stop(number):
                    raise InterruptedRunError(
                        "stopped by a signal; the same command resumes with the next file"
                    )

    def _find_ahead(self, files: Sequence[InputFile]) -> Iterator[FoundFaces]:
        """The faces of files in order, found by threads while others are scored, a batch ahead."""
        size, workers = self._detector.image_size, self._config.data.workers
        if not workers:
            yield from (find_faces(file, self._settings, size) for file in files)
            return
        pool = ThreadPoolExecutor(workers)
        try:
            futures = (pool.submit(find_faces, file, self._settings, size) for file in files)
            ahead = max(2 * workers, self._config.batch_size)
            waiting = collections.deque(itertools.islice(futures, ahead))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(itertools.islice(futures, 1))
        finally:
            pool.shutdown(cancel_futures=True)

    def _score_group(self, group: Sequence[FoundFaces], stamps: Mapping[pathlib.Path, str]):
        """Writes the pictures and records of some files.

        Args:
          stamps: of the files, from before they were read.
        """
        predictions = predict_faces(self._detector, group, self._rules, self._video_score)
        pictures = []
        with ThreadPoolExecutor(max(1, self._config.data.workers)) as pool:
            for found, prediction in zip(group, predictions, strict=True):
                rule = self._rules[found.source["kind"] if found.source else IMAGE]
                for number, face in enumerate(prediction.faces, 1):
                    name = f"{_picture_name(found)}-face{number}"
                    pictures.append(pool.submit(self._write_pictures, name, face, rule))
        for picture in pictures:
            picture.result()
        for found, prediction in zip(group, predictions, strict=True):
            if self._config.annotate:
                prediction.record["annotated"] = self._annotate(found, prediction.record)
        for found, prediction in zip(group, predictions, strict=True):
            self.finished.add(found.path, prediction.record, stamps[found.path])
            if found.path not in self.finished:
                log.warning(
                    "%s changed while it was looked at; the same command looks at it again",
                    found.path,
                )

    def _write_pictures(self, name: str, face: FacePrediction, rule: DecisionRule):
        """Writes the evidence of a face, and its crops at the peaks of a video."""
        record = face.record
        if face.score is None:
            record["picture"] = f"{EVIDENCE}/{name}.jpg"
            self._write_crop(record["picture"], face.crops[0])
            return
        record["evidence"] = f"{EVIDENCE}/{name}.png"
        if len(face.crops) > 1:
            record["peaks"] = self._write_peaks(f"{EVIDENCE}/{name}", record, face.crops)
        picture = face.picture(self._caption(record, rule))
        write_png(self._workdir / record["evidence"], picture, FAST)
        if self._views:
            record |= write_views(self._workdir, f"{EVIDENCE}/{name}", face)

    def _annotate(self, found: FoundFaces, record: dict[str, Any]) -> str | None:
        """Writes a video with boxes and scores.

        Returns:
          Where it is; None for a file that is no video, or has no face.
        """
        if not record["faces"] or record["source"]["kind"] != VIDEO:
            return None
        place = f"{ANNOTATED}/{_picture_name(found)}.mp4"
        threshold = record["threshold"]
        status = describe_status(record, threshold["value"])
        try:
            annotate_video(
                self._workdir / place,
                found.path,
                record,
                threshold["value"],
                video_score=self._video_score,
                band=_sentences(status, *threshold["doubts"], self._detector.note),
            )
        except (BadImageError, ffmpeg_error()) as error:
            if describe_disk_error(error):
                raise
            log.warning("%s was scored and could not be written again: %s", found.path, error)
            return None
        return place

    def _write_peaks(
        self, picture: str, record: dict[str, Any], crops: Crops
    ) -> list[dict[str, Any]]:
        """Writes the crops at which the score peaks in time; returns their places."""
        peaks = []
        for index in score_peaks([frame["score"] for frame in record["frames"]]):
            frame = record["frames"][index]
            place = f"{picture}-frame{frame['frame']}.jpg"
            self._write_crop(place, crops[index])
            peaks.append({name: frame[name] for name in ("time", "frame", "score")})
            peaks[-1]["picture"] = place
        return peaks

    def _write_crop(self, place: str, crop: np.ndarray):
        (self._workdir / EVIDENCE).mkdir(exist_ok=True)
        Image.fromarray(crop).save(self._workdir / place, quality=CROP_QUALITY)

    def _caption(self, record: dict[str, Any], rule: DecisionRule) -> str:
        caption = describe_score(record, rule.value)
        if len(record["frames"]) > 1:
            peak = record["peak"]
            caption += (
                f" ({self._config.aggregate} of {len(record['frames'])} frames); shown: frame "
                f"{peak['frame']} at {peak['time']:.2f} s, the one with the highest score"
            )
        return _sentences(caption, *rule.doubts([record]), self._detector.note)

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
                "path": detector.name,
                "checkpoint": detector.checkpoint,
                "digest": detector.digest,
                "dtype": detector.dtype,
                "trained_datasets": detector.about["trained_datasets"],
                "trained_methods": detector.about["trained_methods"],
            },
            **detector.operating_point.to_json(),
            "thresholds": {medium: rule.to_json() for medium, rule in self._rules.items()},
            "residual_reference": detector.reference and detector.reference.origin(),
            "aggregate": {"how": config.aggregate, "top_k": config.top_k},
            "annotate": config.annotate,
            "preprocessing": {**detector.about["detection"], "faces": self._settings.to_json()},
            "versions": versions,
        }


class _Progress:
    """A bar on a terminal; lines in the log elsewhere."""

    def __init__(self, total: int):
        self._bar = tqdm.tqdm(total=total, unit=" files", disable=None, smoothing=0.05)
        self._begun = self._last_line = time.monotonic()
        self._total, self._done = total, 0

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_):
        self._bar.close()

    def add(self, files: int):
        self._done += files
        self._bar.update(files)
        now = time.monotonic()
        if self._bar.disable and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            rate = self._done / (now - self._begun)
            left = (self._total - self._done) / rate
            log.info(
                "%d of %d files, %.2f files/s, %.0f s left", self._done, self._total, rate, left
            )


def _group_files(found: Iterable[FoundFaces], batch_size: int) -> Iterator[list[FoundFaces]]:
    """Groups of files that fill a batch with crops, or of at most four files a place in it."""
    group: list[FoundFaces] = []
    crops = 0
    for file in found:
        group.append(file)
        crops += sum(len(usable_crops(face)) for face in file.faces)
        if crops >= batch_size or len(group) >= 4 * batch_size:
            yield group
            group, crops = [], 0
    if group:
        yield group


def _picture_name(found: FoundFaces) -> str:
    """Unique to a file's name and content, so that files of one name do not collide."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", found.path.stem)[:80]
    return f"{stem}-{found.sha256[:10]}"


def _sentences(*texts: str) -> str:
    return " ".join(as_sentence(text) for text in texts if text)
