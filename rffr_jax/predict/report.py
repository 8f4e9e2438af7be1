"""report.html: verdicts with their evidence, in one self-contained file."""

import heapq
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rffr_jax.predict.decision_rule import describe_thresholds
from rffr_jax.predict.records import FAKE, REAL, UNKNOWN, as_sentence, describe_probability
from rffr_jax.predict.timeline import timeline
from rffr_jax.reports.pictures import Picture, data_uri, picture_from_bytes, picture_from_file
from rffr_jax.reports.templates import render
from rffr_jax.runs.atomic_files import write_text

MOST_FACES = 100
MOST_BYTES = 120_000
"""The size of one of the `MOST_FACES` pictures."""

MOST_UNKNOWN = 1000
OVERVIEW = ("file", "status", "score", "threshold", "faces", "examined", "SHA-256")
STATUS_TEXTS = {
    FAKE: "above the threshold",
    REAL: "not above the threshold",
    UNKNOWN: "not judged",
}
_HOW_TO_READ = (
    "A score lies between 0 and 1 and is no probability. 'Fake' is a score above the threshold, "
    "'real' any other; neither is a proof, and 'real' does not mean authentic. A calibrated "
    "probability, where there is one, decides nothing: it holds for data like those that the "
    "calibration was fitted on, with as many fakes among them. The pictures show the detector's "
    "inputs, not what its score rests on: the block with the strongest colour need not be one that "
    "decided."
)


def write_report(
    folder: pathlib.Path, about: Mapping[str, Any], files: Iterable[Mapping[str, Any]]
):
    """Writes report.html.

    Args:
      folder: the workdir, which holds the records' pictures.
      about: the fields of predictions.json that precede its `files`.
      files: its `files`; read once.
    """
    counts = dict.fromkeys(STATUS_TEXTS, 0)
    unknown: list[Mapping[str, Any]] = []

    def scored():
        for record in files:
            counts[record["status"]] += 1
            if record["status"] != UNKNOWN:
                yield record
            elif len(unknown) < MOST_UNKNOWN:
                unknown.append(record)

    highest = heapq.nlargest(MOST_FACES, scored(), key=lambda record: record["score"])
    shown, unjudged = _first_records(highest), _first_records(unknown)
    headings = ["Overview", "Files, the highest scores first"]
    headings += ["Files that were not judged"] if unknown else []
    counted = ", ".join(f"{counts[status]} {text}" for status, text in STATUS_TEXTS.items())
    left_out = about["left_out"].items()
    text = render(
        "predict.html",
        title="Scores of photographs and videos",
        headings=[*headings, "How this was made"],
        note=as_sentence(about["note"]),
        how_to_read=_HOW_TO_READ,
        overview_head=OVERVIEW,
        unlisted=counts[FAKE] + counts[REAL] - len(highest),
        counted=f"Files: {counted}. The threshold is {describe_thresholds(about['thresholds'])}.",
        left_out=", ".join(
            f"{count} {ending or 'without an ending'}" for ending, count in left_out
        ),
        overview=[_overview(record) for record in (*highest, *unknown)],
        judged=[_file(folder, record, f"file{number}") for number, record in enumerate(shown)],
        lower=counts[FAKE] + counts[REAL] - len(shown),
        reasons=[(record["path"], record["reason"]) for record in unknown],
        more_unknown=counts[UNKNOWN] - len(unknown),
        unjudged=[_file(folder, record, "") for record in unjudged if record["faces"]],
        more_faces=sum(len(record["faces"]) for record in unknown[len(unjudged) :]),
        command=about["command"],
        made=_provenance(about),
    )
    write_text(folder / "report.html", text)


def _overview(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The row of a file in the table `OVERVIEW`."""
    score, threshold = record["score"], record["threshold"]
    return (
        record["path"],
        record["status"],
        "" if score is None else f"{score:.3f}",
        f"{threshold['value']:.3f}" if threshold else "",
        str(len(record["faces"])),
        record["examined"],
        record["sha256"] or "",
    )


def _first_records(records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The first ones, up to `MOST_FACES` faces; at least one."""
    faces = 0
    for number, record in enumerate(records):
        faces += len(record["faces"])
        if faces > MOST_FACES and number:
            return records[:number]
    return records


def _file(folder: pathlib.Path, record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The arguments of a file in the template; `name` is unique in the page."""
    threshold, source = record["threshold"], record["source"]
    drawn = None
    if source["kind"] == "video":
        pictures = {
            peak["picture"]: data_uri((folder / peak["picture"]).read_bytes(), "image/jpeg")
            for face in record["faces"]
            for peak in face["peaks"]
            if (folder / peak["picture"]).is_file()
        }
        drawn = timeline(record, threshold["value"], pictures, name)
    beside = [f"With boxes and scores: {record['annotated']}"] if record["annotated"] else []
    if record["faces_left_out"]:
        beside.append(f"{record['faces_left_out']} smaller faces were left out.")
    return {
        **{"path": record["path"], "status": record["status"], "score": _score_text(record)},
        **{"source": _source(source), "timeline": drawn, "beside": beside},
        "doubts": [as_sentence(doubt) for doubt in threshold["doubts"]],
        "faces": [_face(folder, face) for face in record["faces"]],
    }


def _face(folder: pathlib.Path, face: Mapping[str, Any]) -> Picture | str:
    """The evidence of a face, or the crop of one without a score; a text if the picture is gone."""
    score = face["evidence"] is not None
    file = face["evidence"] if score else face["picture"]
    caption = f"Face {face['face']}{': ' if score else ', '}{_score_text(face)}"
    if not (folder / file).is_file():
        return f"{caption}; its picture {file} is gone."
    if score:
        return picture_from_file(folder / file, MOST_BYTES, caption)
    return picture_from_bytes((folder / file).read_bytes(), caption)


def _score_text(record: Mapping[str, Any]) -> str:
    if record["score"] is None:
        return f"{UNKNOWN}: {record['reason']}"
    text = f"score {record['score']:.3f}, {STATUS_TEXTS[record['status']]}"
    return text + describe_probability(record)


def _source(source: Mapping[str, Any]) -> str:
    said = f"{source['kind']}, {source['codec']}, {source['width']} x {source['height']}"
    if source["kind"] == "video":
        looked_at = source["frames_looked_at"]
        said += f", {source['seconds']:.1f} s, {looked_at} of {source['frames']} frames looked at"
    return ", ".join((said, *source.get("conversions", ())))


def _provenance(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    detector, calibrations = about["detector"], about["calibrations"]
    calibrated = [f"{one['method']} for {name}s" for name, one in calibrations.items() if one]
    return [
        ("detector", f"{detector['path']}, {detector['checkpoint']}"),
        ("digest of its weights", detector["digest"]),
        ("computed in", detector["dtype"]),
        ("trained on", ", ".join(detector["trained_datasets"]) or "not recorded"),
        ("manipulations in training", ", ".join(detector["trained_methods"]) or "not recorded"),
        ("threshold", threshold_origin(about["thresholds"])),
        ("calibration", ", ".join(calibrated) or "none"),
        ("score of a face in a video", about["aggregate"]["how"]),
        *about["versions"].items(),
    ]


def threshold_origin(thresholds: Mapping[str, Mapping[str, Any]]) -> str:
    """On what the thresholds rest."""
    origins = []
    for medium, threshold in thresholds.items():
        text = f"{medium}s: {threshold['value']:.3f}, {threshold['from']}"
        if threshold["n_real"] is not None:
            text += f" of {threshold['n_real']} real and {threshold['n_fake']} fake examples"
        origins.append(text)
    return "; ".join(origins)
