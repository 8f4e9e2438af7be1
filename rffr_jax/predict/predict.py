"""Job `predict`: a person's own photographs and videos, scored, with the evidence for each face."""

import collections
import importlib.metadata
import logging
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import tqdm
from PIL import Image

from rffr_jax import __version__, processes
from rffr_jax.config import Config
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.evaluation.evaluate import PACKAGES, as_list
from rffr_jax.faces.frames import ffmpeg_error
from rffr_jax.predict.aggregate import check_aggregate
from rffr_jax.predict.annotated_video import annotate_video
from rffr_jax.predict.default_detector import named_or_demo
from rffr_jax.predict.detector import LoadedDetector, load_detector
from rffr_jax.predict.evidence import draw_evidence
from rffr_jax.predict.faces_of import FoundFaces, faces_of
from rffr_jax.predict.finished import FinishedFiles
from rffr_jax.predict.inputs import VIDEO, InputFile, find_files
from rffr_jax.predict.parts import Part, part_from
from rffr_jax.predict.predictions_file import write_predictions
from rffr_jax.predict.preparation import FaceSettings, face_settings
from rffr_jax.predict.report import write_report
from rffr_jax.predict.timeline import score_peaks
from rffr_jax.predict.verdict import FAKE, face_record, file_record
from rffr_jax.training.interruption import InterruptedRunError, StopRequest
from rffr_jax.workdir import held, write_config

log = logging.getLogger(__name__)

EVIDENCE, ANNOTATED = "evidence", "annotated"
PEAK_QUALITY = 90  # JPEG
LISTED = 20
SECONDS_BETWEEN_LINES = 60.0
_FACES_PACKAGES = ("av", "onnxruntime", "opencv-python-headless")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def run(config: Config, workdir: pathlib.Path):
    """Writes predictions.json, predictions.csv, report.html, a picture a face in evidence/
    and videos with boxes and scores in annotated/.

    Raises:
      UserError: nothing to look at, a detector that is none, a setting that is not possible.
      InterruptedRunError: a signal came; what was done is kept.
    """
    if processes.count() > 1:
        raise UserError(
            "predict runs in processes that know nothing of each other: start each alone, with "
            "--config.part=K/N"
        )
    part = part_from(config.part)
    check_aggregate(config.aggregate, config.top_k)
    if config.threshold is not None and not 0 <= config.threshold <= 1:
        raise UserError(f"threshold={config.threshold}; it must lie in [0, 1], as scores do")
    files = find_files(as_list(config.inputs), leave_out=workdir)
    detector = load_detector(
        named_or_demo(config.detector),
        checkpoint=config.checkpoint,
        dtype=config.dtype,
        batch_size=config.batch_size,
    )
    settings = face_settings(
        detector.about["preparations"],
        faces=config.faces,
        weights=pathlib.Path(config.face_weights).expanduser() if config.face_weights else None,
        frames=config.frames_per_video,
        most_faces=config.most_faces,
        darkest=config.darkest,
        least_sharpness=config.least_sharpness,
    )
    if detector.note:
        log.warning("%s", detector.note)
    with held(part.folder(workdir)):
        write_config(workdir, config)
        prediction = _Prediction(config, workdir, detector, settings, part)
        prediction.look_at(part.files(files))
        finished = {
            other: prediction.finished
            if other == part
            else FinishedFiles(other.folder(workdir), prediction.depends_on, own=False)
            for other in part.everyone()
        }
        lacking = sum(
            file.path not in done for other, done in finished.items() for file in other.files(files)
        )
        if lacking:
            print(
                f"part {config.part} is done; {lacking} files of other parts are not yet looked "
                f"at: the part that ends last writes {workdir / 'predictions.json'}"
            )
            return
        counts = write_predictions(workdir, prediction.about, _records(files, finished))
        write_report(workdir, prediction.about, _records(files, finished))
        listed = list(_records(files, finished)) if len(files) <= LISTED else []
        _tell(prediction, listed, counts, workdir)


def _records(
    files: Sequence[InputFile], finished: Mapping[Part, FinishedFiles]
) -> Iterator[dict[str, Any]]:
    """Of all files in their order, from what all parts have finished."""
    of_part = [
        done.records([file.path for file in part.files(files)]) for part, done in finished.items()
    ]
    for number in range(len(files)):
        yield next(of_part[number % len(of_part)])


class _Prediction:
    """One run: its detector, its settings and what is finished of it."""

    def __init__(
        self,
        config: Config,
        workdir: pathlib.Path,
        detector: LoadedDetector,
        settings: FaceSettings,
        part: Part,
    ):
        self._config, self._workdir = config, workdir
        self._detector, self._settings = detector, settings
        asked = config.threshold
        self.threshold = detector.threshold if asked is None else float(asked)
        self.about = self._about()
        self.depends_on = {name: self.about[name] for name in self.about if name != "command"}
        self.finished = FinishedFiles(part.folder(workdir), self.depends_on)

    def look_at(self, files: Sequence[InputFile]):
        """Scores what is not finished, a batch of faces at a time, whatever file they are of."""
        todo = [file for file in files if file.path not in self.finished]
        if len(todo) < len(files):
            log.info("%d of %d files were looked at before", len(files) - len(todo), len(files))
        size, workers = self._detector.image_size, self._config.data.workers
        found_in = _ahead(lambda file: faces_of(file, self._settings, size), todo, workers)
        with StopRequest() as stop, _Progress(len(todo)) as progress:
            for number, group in enumerate(_groups(found_in, self._config.batch_size)):
                self._finish(group)
                progress.add(len(group))
                if stop.agreed(number):
                    raise InterruptedRunError(
                        "stopped by a signal; the same command goes on with the next file"
                    )

    def _finish(self, group: Sequence[FoundFaces]):
        """Scores, pictures and records of some files."""
        size = self._detector.image_size
        crops = [_crops(face) for found in group for face in found.faces]
        images = np.stack([crop for face in crops for crop in face] or [np.zeros((size, size, 3))])
        images = images.astype(np.uint8)[: sum(map(len, crops))]
        scores, differences = self._detector.examine(images)
        ends = np.cumsum([len(face) for face in crops], dtype=int)
        of_face = iter(np.split(scores, ends[:-1]) if crops else [])
        peaks: list[int] = []
        shown: list[dict[str, Any]] = []
        first, records = 0, []
        for found in group:
            faces = []
            for sightings in found.faces:
                own = next(of_face)
                record = face_record(
                    sightings, own, self.threshold, self._config.aggregate, self._config.top_k
                )
                if len(own):
                    peaks.append(first + int(own.argmax()))
                    picture = f"{EVIDENCE}/{_picture_name(found)}-face{len(faces)}"
                    record["evidence"] = f"{picture}.png"
                    shown.append(record)
                    if len(own) > 1:
                        record["peaks"] = self._keep_peaks(picture, record, images[first:])
                first += len(own)
                faces.append(record)
            records.append(file_record(found, faces))
            if self._config.annotate:
                records[-1]["annotated"] = self._annotate(found, records[-1])
        self._draw(images, scores, differences, peaks, shown)
        for found, record in zip(group, records, strict=True):
            self.finished.add(found.path, record)

    def _draw(self, images, scores, differences, peaks: list[int], records: list[dict[str, Any]]):
        if not peaks:
            return
        some = None if differences is None else differences[peaks]
        explained = self._detector.explanations(images[peaks], scores[peaks], some)
        for shown, record in zip(explained, records, strict=True):
            draw_evidence(
                self._workdir / record["evidence"],
                shown,
                self._detector.blocks,
                self._detector.patch_size,
                self._detector.alpha,
                self._caption(record),
            )

    def _annotate(self, found: FoundFaces, record: dict[str, Any]) -> str | None:
        """Writes a video with boxes and scores, and says where; None for what is none."""
        if record["score"] is None or record["source"]["kind"] != VIDEO:
            return None
        place = f"{ANNOTATED}/{_picture_name(found)}.mp4"
        where = "above" if record["status"] == FAKE else "not above"
        note = self._detector.note
        band = f"Score {record['score']:.3f}, {where} the threshold {self.threshold:.3f}."
        if note:
            band += f" {note[0].upper()}{note[1:]}."
        how, top_k = self._config.aggregate, self._config.top_k
        try:
            annotate_video(
                self._workdir / place,
                found.path,
                record,
                self.threshold,
                how=how,
                top_k=top_k,
                band=band,
            )
        except (BadImageError, ffmpeg_error()) as error:
            log.warning("%s was scored and could not be written again: %s", found.path, error)
            return None
        return place

    def _keep_peaks(
        self, picture: str, record: dict[str, Any], crops: np.ndarray
    ) -> list[dict[str, Any]]:
        """Writes the crops at which the score peaks in time, and says where they are."""
        (self._workdir / EVIDENCE).mkdir(exist_ok=True)
        peaks = []
        for index in score_peaks([frame["score"] for frame in record["frames"]]):
            frame = record["frames"][index]
            place = f"{picture}-frame{frame['frame']}.jpg"
            Image.fromarray(crops[index]).save(self._workdir / place, quality=PEAK_QUALITY)
            peaks.append({name: frame[name] for name in ("time", "frame", "score")})
            peaks[-1]["picture"] = place
        return peaks

    def _caption(self, record: dict[str, Any]) -> str:
        where = "above" if record["status"] == "fake" else "not above"
        caption = f"score {record['score']:.3f}, {where} the threshold {self.threshold:.3f}"
        if len(record["frames"]) > 1:
            peak = record["peak"]
            caption += (
                f" ({self._config.aggregate} of {len(record['frames'])} frames); shown: frame "
                f"{peak['frame']} at {peak['time']:.2f} s, the one with the highest score"
            )
        return f"{caption}. {self._detector.note}".rstrip(". ") + "."

    def _about(self) -> dict[str, Any]:
        config, detector = self._config, self._detector
        asked = config.threshold is not None
        chosen = detector.point.max_fpr is not None
        versions = {"rffr_jax": __version__}
        for name in (*PACKAGES, *_FACES_PACKAGES):
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        said = detector.point.said()
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
            "threshold": {
                "value": self.threshold,
                "from": "config" if asked else "validation data" if chosen else "default",
                "max_fpr": said["max_fpr"] if chosen and not asked else None,
                "chosen_on": said["chosen_on"] if chosen and not asked else None,
            },
            "calibration": said["calibration"],
            "aggregate": {"how": config.aggregate, "top_k": config.top_k},
            "annotate": config.annotate,
            "preprocessing": {
                **detector.about["detection"],
                "faces": self._settings.to_json(),
            },
            "versions": versions,
        }


class _Progress:
    """A bar with files/s and the time left; lines in the log where there is no terminal."""

    def __init__(self, total: int):
        self._bar = tqdm.tqdm(total=total, unit=" files", disable=None, smoothing=0.05)
        self._begun = self._told = time.monotonic()
        self._total, self._done = total, 0

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_):
        self._bar.close()

    def add(self, files: int):
        self._done += files
        self._bar.update(files)
        now = time.monotonic()
        if self._bar.disable and now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            rate = self._done / (now - self._begun)
            left = (self._total - self._done) / rate
            log.info(
                "%d of %d files, %.2f files/s, %.0f s left", self._done, self._total, rate, left
            )


def _crops(sightings) -> list[np.ndarray]:
    return [sighting.crop for sighting in sightings if sighting.crop is not None]


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


def _ahead(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int
) -> Iterator[_Result]:
    """`map` by threads that work ahead, at most twice as many results as there are threads."""
    if not workers:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque[Future[_Result]] = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _picture_name(found: FoundFaces) -> str:
    """Of the file's name and content, so that files of one name do not meet."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", found.path.stem)[:80]
    return f"{stem}-{found.sha256[:10]}"


def _tell(
    prediction: _Prediction,
    listed: Sequence[dict[str, Any]],
    counts: dict[str, int],
    workdir: pathlib.Path,
):
    for record in listed:
        score = "     " if record["score"] is None else f"{record['score']:.3f}"
        reason = f": {record['reason']}" if record["reason"] else ""
        print(f"{record['status']:8} {score}  {record['path']}{reason}")
    counted = ", ".join(f"{count} {status}" for status, count in counts.items())
    print(f"{counted} (threshold {prediction.threshold:.3f}); see {workdir / 'predictions.json'}")
    print("'fake' is a score above the threshold, 'real' any other; neither is a proof")
    if prediction.about["note"]:
        print(prediction.about["note"])
