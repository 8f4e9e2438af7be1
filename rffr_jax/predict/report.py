"""report.html: verdicts with their evidence, in one file that needs no other."""

import heapq
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rffr_jax.predict.decision_rule import describe_thresholds
from rffr_jax.predict.records import FAKE, REAL, UNKNOWN, as_sentence, describe_probability
from rffr_jax.predict.timeline import timeline
from rffr_jax.reports.pictures import Picture, data_uri, picture_from_bytes, picture_from_file
from rffr_jax.reports.templates import render
from rffr_jax.runs.atomic_files import atomic_write

MOST_FACES = 100
MOST_BYTES = 120_000
"""Of a picture in the report; one of `MOST_FACES` faces at most."""

MOST_UNKNOWN = 1000
SAID = {
    FAKE: "above the threshold",
    REAL: "not above the threshold",
    UNKNOWN: "not judged",
}
_HOW_TO_READ = (
    "A score lies between 0 and 1 and is no probability. 'Fake' is said of a score above the "
    "threshold, 'real' of any other; neither is a proof, and 'real' does not mean authentic. A "
    "calibrated probability, where there is one, decides nothing: it holds for data like those "
    "that the calibration was fitted on, with as many fakes among them. The pictures show what the "
    "detector was given, not what its score rests on: the block with the strongest colour need not "
    "be one that decided."
)


def write_report(
    folder: pathlib.Path, about: Mapping[str, Any], files: Iterable[Mapping[str, Any]]
):
    """Writes report.html.

    Args:
      folder: the workdir, in which the records' pictures lie.
      about: what predictions.json says before its `files`.
      files: its `files`, once through.
    """
    counts = dict.fromkeys(SAID, 0)
    unknown: list[Mapping[str, Any]] = []

    def judged():
        for record in files:
            counts[record["status"]] += 1
            if record["status"] != UNKNOWN:
                yield record
            elif len(unknown) < MOST_UNKNOWN:
                unknown.append(record)

    highest = heapq.nlargest(MOST_FACES, judged(), key=lambda record: record["score"])
    shown, unjudged = _first_records(highest), _first_records(unknown)
    headings = ["Files, the highest scores first"]
    headings += ["Files that were not judged"] if unknown else []
    listed = ", ".join(f"{counts[status]} {said}" for status, said in SAID.items())
    text = render(
        "predict.html",
        title="Scores of photographs and videos",
        headings=[*headings, "How this was made"],
        note=as_sentence(about["note"]) if about["note"] else "",
        how_to_read=_HOW_TO_READ,
        counted=f"Files: {listed}. The threshold is {describe_thresholds(about['thresholds'])}.",
        judged=[_scored_file(folder, record, number) for number, record in enumerate(shown)],
        left_out=counts[FAKE] + counts[REAL] - len(shown),
        reasons=[(record["path"], record["reason"]) for record in unknown],
        more_unknown=counts[UNKNOWN] - len(unknown),
        unjudged=[_unknown_file(folder, record) for record in unjudged if record["faces"]],
        more_faces=sum(len(record["faces"]) for record in unknown[len(unjudged) :]),
        command=about["command"],
        made=_provenance(about),
    )
    with atomic_write(folder / "report.html") as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def _first_records(records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The first ones, up to `MOST_FACES` faces; at least one."""
    faces = 0
    for number, record in enumerate(records):
        faces += len(record["faces"])
        if faces > MOST_FACES and number:
            return records[:number]
    return records


def _scored_file(folder: pathlib.Path, record: Mapping[str, Any], number: int) -> dict[str, Any]:
    drawn = None
    if record["source"]["kind"] == "video":
        pictures = {
            peak["picture"]: data_uri((folder / peak["picture"]).read_bytes(), "image/jpeg")
            for face in record["faces"]
            for peak in face["peaks"]
            if (folder / peak["picture"]).is_file()
        }
        drawn = timeline(record, record["threshold"]["value"], pictures, f"file{number}")
    said = f"score {record['score']:.3f}, {SAID[record['status']]}{describe_probability(record)}"
    return {
        **{"path": record["path"], "status": record["status"], "said": said},
        **{"source": _source(record["source"]), "timeline": drawn},
        "doubts": [as_sentence(doubt) for doubt in record["threshold"]["doubts"]],
        "faces": [_face(folder, face) for face in record["faces"]],
        "beside": _further_lines(record),
    }


def _unknown_file(folder: pathlib.Path, record: Mapping[str, Any]) -> dict[str, Any]:
    faces = [_face(folder, face) for face in record["faces"]]
    return {"path": record["path"], "faces": faces, "beside": _further_lines(record)}


def _face(folder: pathlib.Path, face: Mapping[str, Any]) -> Picture | str:
    """The evidence of a face, or the face that was not judged; a text where its picture is gone."""
    if face["evidence"] is None:
        said, file = f"Face {face['face']}, unknown: {face['reason']}", face["picture"]
    else:
        said = f"Face {face['face']}: score {face['score']:.3f}, {SAID[face['status']]}"
        said += describe_probability(face)
        file = face["evidence"]
    if not (folder / file).is_file():
        return f"{said}; its picture {file} is gone."
    if face["evidence"] is None:
        return picture_from_bytes((folder / file).read_bytes(), said)
    return picture_from_file(folder / file, MOST_BYTES, said)


def _source(source: Mapping[str, Any]) -> str:
    said = f"{source['kind']}, {source['codec']}, {source['width']} x {source['height']}"
    if source["kind"] == "video":
        looked_at = source["frames_looked_at"]
        said += f", {source['seconds']:.1f} s, {looked_at} of {source['frames']} frames looked at"
    return said


def _further_lines(record: Mapping[str, Any]) -> list[str]:
    """What there is beside the faces that are shown."""
    lines = [f"With boxes and scores: {record['annotated']}"] if record["annotated"] else []
    if record["faces_left_out"]:
        lines.append(f"{record['faces_left_out']} smaller faces were left out.")
    return lines


def _provenance(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    detector, calibrations = about["detector"], about["calibrations"]
    calibrated = [f"{one['method']} for {name}s" for name, one in calibrations.items() if one]
    return [
        ("detector", f"{detector['path']}, {detector['checkpoint']}"),
        ("digest of its weights", detector["digest"]),
        ("trained on", ", ".join(detector["trained_datasets"]) or "not recorded"),
        ("manipulations in training", ", ".join(detector["trained_methods"]) or "not recorded"),
        ("calibration", ", ".join(calibrated) or "none"),
        ("score of a face in a video", about["aggregate"]["how"]),
        *about["versions"].items(),
    ]
