"""Job `predict`: a person's own photographs and videos, scored, with the evidence for each face.

Several processes can share the files of one prediction and its workdir: `--config.part=K/N`.
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rffr_jax.cluster import processes
from rffr_jax.cluster.interruption import StopRequest
from rffr_jax.config import Config, local_path
from rffr_jax.data.readers.left_out import SkippedFiles
from rffr_jax.data.specs import as_tuple
from rffr_jax.errors import UserError
from rffr_jax.evaluation.aggregate import check_aggregate
from rffr_jax.predict.decision_rule import check_threshold, describe_thresholds
from rffr_jax.predict.detector import LoadedDetector, load_detector
from rffr_jax.predict.face_settings import FaceSettings, face_settings
from rffr_jax.predict.file_scorer import FileScorer
from rffr_jax.predict.finished_files import FinishedFiles
from rffr_jax.predict.inputs import InputFile, find_files
from rffr_jax.predict.predictions_file import write_predictions
from rffr_jax.predict.report import write_report
from rffr_jax.runs.workdir import locked_workdir, write_config

MOST_PRINTED = 20
"""Files whose scores are printed; of more files only the counts are."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The share of one process in the files, `number` of `count`, from 1 on."""

    number: int
    count: int

    def select(self, files: Sequence[InputFile]) -> Sequence[InputFile]:
        """Every `count`-th file."""
        return files[self.number - 1 :: self.count]

    def folder(self, workdir: pathlib.Path) -> pathlib.Path:
        """Where finished records and the lock are; the workdir where there is one process."""
        if self.count == 1:
            return workdir
        return workdir / "parts" / f"{self.number}-of-{self.count}"


def parse_part(text: str) -> Part:
    """The part that `K/N` names; '' is the only one.

    Raises:
      UserError: it names none.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "1/1")
    part = Part(*map(int, found.groups())) if found else None
    if part is None or not 1 <= part.number <= part.count:
        raise UserError(f"part={text!r} is none; write K/N, with K from 1 to N, such as 2/4")
    return part


def run(config: Config, workdir: pathlib.Path):
    """Writes predictions.json, predictions.csv, report.html, a picture a face in evidence/
    and videos with boxes and scores in annotated/.

    Raises:
      UserError: nothing to look at, no such detector, or a setting that is not possible.
      InterruptedRunError: a signal came; finished files are kept.
    """
    if processes.process_count() > 1:
        raise UserError(
            "predict runs in independent processes: start each by itself, with --config.part=K/N"
        )
    part = parse_part(config.part)
    left_out = SkippedFiles()
    files = find_files(as_tuple(config.inputs), exclude=workdir, left_out=left_out)
    detector, settings = detector_and_settings(config)
    with locked_workdir(part.folder(workdir)):
        write_config(workdir, config)
        scorer = FileScorer(config, workdir, detector, settings, part.folder(workdir))
        with StopRequest() as stop:
            scorer.score_files(part.select(files), stop)
        finished = {part: scorer.finished}
        for other in (Part(number, part.count) for number in range(1, part.count + 1)):
            if other != part:
                folder = other.folder(workdir)
                finished[other] = FinishedFiles(folder, scorer.settings, read_only=True)
        lacking = sum(
            file.path not in records
            for other, records in finished.items()
            if other != part
            for file in other.select(files)
        )
        if lacking:
            print(
                f"part {config.part} is done; {lacking} files of other parts are not yet looked "
                f"at: the part that ends last writes {workdir / 'predictions.json'}"
            )
            return
        about = scorer.about | {"left_out": dict(left_out.counts.most_common())}
        counts = write_predictions(workdir, about, _records(files, finished))
        write_report(workdir, about, _records(files, finished))
        printed = list(_records(files, finished)) if len(files) <= MOST_PRINTED else []
        _print_summary(about, printed, counts, workdir)


def detector_and_settings(config: Config) -> tuple[LoadedDetector, FaceSettings]:
    """The detector that a config names, with a note on its scores, and how faces are found.

    Raises:
      UserError: no such detector, or a setting that is not possible.
    """
    check_aggregate(config.aggregate, config.top_k)
    check_threshold(config.threshold)
    detector = load_detector(
        config.detector,
        backbone=config.backbone.weights,
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
    """The records of all files in their order, from those that the parts have finished."""
    by_part = {
        part.number: records.records([file.path for file in part.select(files)])
        for part, records in finished.items()
    }
    for index in range(len(files)):
        yield next(by_part[index % len(by_part) + 1])


def _print_summary(
    about: Mapping[str, Any],
    printed: Sequence[dict[str, Any]],
    counts: dict[str, int],
    workdir: pathlib.Path,
):
    for record in printed:
        score = "     " if record["score"] is None else f"{record['score']:.3f}"
        reason = f": {record['reason']}" if record["reason"] else ""
        print(f"{record['status']:8} {score}  {record['path']}{reason}")
    counted = ", ".join(f"{count} {status}" for status, count in counts.items())
    threshold = describe_thresholds(about["thresholds"])
    print(f"{counted}; threshold {threshold}; see {workdir / 'predictions.json'}")
    print("'fake' is a score above the threshold, 'real' any other; neither is a proof")
    doubts = [doubt for r in printed if r["threshold"] for doubt in r["threshold"]["doubts"]]
    for doubt in dict.fromkeys(doubts):
        print(doubt)
    if about["note"]:
        print(about["note"])
