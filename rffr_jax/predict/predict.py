"""Job `predict`: a person's own photographs and videos, scored, with the evidence for each face."""

import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rffr_jax.cluster import processes
from rffr_jax.config import Config, local_path
from rffr_jax.data.readers.left_out import LeftOut
from rffr_jax.errors import UserError
from rffr_jax.evaluation.aggregate import check_aggregate
from rffr_jax.evaluation.evaluate import as_tuple
from rffr_jax.predict.decision_rule import describe_thresholds
from rffr_jax.predict.default_detector import find_detector_folder
from rffr_jax.predict.detector import LoadedDetector, load_detector
from rffr_jax.predict.face_settings import FaceSettings, face_settings
from rffr_jax.predict.file_scorer import FileScorer
from rffr_jax.predict.finished_files import FinishedFiles
from rffr_jax.predict.inputs import InputFile, find_files
from rffr_jax.predict.parts import Part, parse_part
from rffr_jax.predict.predictions_file import write_predictions
from rffr_jax.predict.report import write_report
from rffr_jax.runs.workdir import locked_workdir, write_config

log = logging.getLogger(__name__)

LISTED = 20


def run(config: Config, workdir: pathlib.Path):
    """Writes predictions.json, predictions.csv, report.html, a picture a face in evidence/
    and videos with boxes and scores in annotated/.

    Raises:
      UserError: nothing to look at, a detector that is none, a setting that is not possible.
      InterruptedRunError: a signal came; what was done is kept.
    """
    if processes.process_count() > 1:
        raise UserError(
            "predict runs in processes that know nothing of each other: start each alone, with "
            "--config.part=K/N"
        )
    part = parse_part(config.part)
    left_out = LeftOut()
    files = find_files(as_tuple(config.inputs), leave_out=workdir, passed_over=left_out)
    detector, settings = detector_and_settings(config)
    if detector.note:
        log.warning("%s", detector.note)
    with locked_workdir(part.folder(workdir)):
        write_config(workdir, config)
        prediction = FileScorer(config, workdir, detector, settings, part)
        prediction.score_files(part.files(files))
        finished = {
            other: prediction.finished
            if other == part
            else FinishedFiles(other.folder(workdir), prediction.depends_on, own=False)
            for other in part.all_parts()
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
        about = prediction.about | {"left_out": dict(left_out.counts.most_common())}
        counts = write_predictions(workdir, about, _records(files, finished))
        write_report(workdir, prediction.about, _records(files, finished))
        listed = list(_records(files, finished)) if len(files) <= LISTED else []
        _print_summary(prediction, listed, counts, workdir)


def detector_and_settings(config: Config) -> tuple[LoadedDetector, FaceSettings]:
    """The detector that a config names, with what must be said of its scores, and how faces are
    found.

    Raises:
      UserError: a detector that is none, or a setting that is not possible.
    """
    check_aggregate(config.aggregate, config.top_k)
    if config.threshold is not None and not 0 <= config.threshold <= 1:
        raise UserError(f"threshold={config.threshold}; it must lie in [0, 1], as scores do")
    detector = load_detector(
        find_detector_folder(config.detector),
        checkpoint=config.checkpoint,
        dtype=config.dtype,
        batch_size=config.batch_size,
    )
    settings = face_settings(
        detector.about["preparations"],
        detector.image_size,
        local_path(config.preparation, "preparation") if config.preparation else None,
        faces=config.faces,
        weights=local_path(config.face_weights, "face_weights") if config.face_weights else None,
        frames=config.frames_per_video,
        most_faces=config.most_faces,
        darkest=config.darkest,
        least_sharpness=config.least_sharpness,
    )
    detector.note = "; ".join(filter(None, (detector.note, settings.note)))
    return detector, settings


def _records(
    files: Sequence[InputFile], finished: Mapping[Part, FinishedFiles]
) -> Iterator[dict[str, Any]]:
    """Of all files in their order, from what all parts have finished."""
    of_part = [
        done.records([file.path for file in part.files(files)]) for part, done in finished.items()
    ]
    for number in range(len(files)):
        yield next(of_part[number % len(of_part)])


def _print_summary(
    prediction: FileScorer,
    listed: Sequence[dict[str, Any]],
    counts: dict[str, int],
    workdir: pathlib.Path,
):
    for record in listed:
        score = "     " if record["score"] is None else f"{record['score']:.3f}"
        reason = f": {record['reason']}" if record["reason"] else ""
        print(f"{record['status']:8} {score}  {record['path']}{reason}")
    counted = ", ".join(f"{count} {status}" for status, count in counts.items())
    threshold = describe_thresholds(prediction.about["thresholds"])
    print(f"{counted}; threshold {threshold}; see {workdir / 'predictions.json'}")
    print("'fake' is a score above the threshold, 'real' any other; neither is a proof")
    doubts = [doubt for r in listed if r["threshold"] for doubt in r["threshold"]["doubts"]]
    for doubt in dict.fromkeys(doubts):
        print(doubt)
    if prediction.about["note"]:
        print(prediction.about["note"])
