"""report.html: verdicts with their evidence, in one file that needs no other."""

import heapq
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rffr_jax.predict import timeline
from rffr_jax.predict.decision import thresholds_said
from rffr_jax.predict.verdict import FAKE, REAL, UNKNOWN, probability_said, sentence
from rffr_jax.reports.page import data_address, escaped, page, picture, picture_file, plain_table
from rffr_jax.runs.whole_files import whole_file

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
    shown = _that_fit(highest)
    sections = [("Files, the highest scores first", _judged(folder, shown, counts))]
    if unknown:
        sections.append(("Files that were not judged", _unknown(folder, unknown, counts[UNKNOWN])))
    sections.append(("How this was made", _made(about)))
    with whole_file(folder / "report.html") as part:
        text = page("Scores of photographs and videos", sections, _top(about, counts))
        part.write_text(text, encoding="utf-8")


def _that_fit(records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The first ones, up to `MOST_FACES` faces; at least one."""
    faces = 0
    for number, record in enumerate(records):
        faces += len(record["faces"])
        if faces > MOST_FACES and number:
            return records[:number]
    return records


def _top(about: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    note = about["note"]
    warning = f'<p class="note">{escaped(sentence(note))}</p>' if note else ""
    listed = ", ".join(f"{counts[status]} {said}" for status, said in SAID.items())
    threshold = escaped(thresholds_said(about["thresholds"]))
    return (
        f"{timeline.STYLE}{warning}<p>{escaped(_HOW_TO_READ)}</p>"
        f"<p>Files: {listed}. The threshold is {threshold}.</p>"
    )


def _judged(
    folder: pathlib.Path,
    shown: Sequence[Mapping[str, Any]],
    counts: Mapping[str, int],
) -> str:
    if not shown:
        return "<p>No file could be judged.</p>"
    parts = [_file(folder, record, number) for number, record in enumerate(shown)]
    left_out = counts[FAKE] + counts[REAL] - len(shown)
    if left_out:
        parts.append(
            f"<p>Files with lower scores, left out here: {left_out}. They are in "
            "predictions.csv.</p>"
        )
    return "\n".join(parts)


def _file(folder: pathlib.Path, record: Mapping[str, Any], number: int) -> str:
    threshold = record["threshold"]["value"]
    parts = [
        f"<h3>{escaped(record['path'])}</h3>",
        f"<p><strong>{record['status']}</strong>: score {record['score']:.3f}, "
        f"{SAID[record['status']]}{probability_said(record)}"
        f'<span class="small"> ({escaped(_source(record["source"]))})</span></p>',
    ]
    parts += [f"<p>{sentence(doubt)}</p>" for doubt in record["threshold"]["doubts"]]
    pictures = {
        peak["picture"]: data_address((folder / peak["picture"]).read_bytes(), "image/jpeg")
        for face in record["faces"]
        for peak in face["peaks"]
        if (folder / peak["picture"]).is_file()
    }
    if record["source"]["kind"] == "video":
        parts.append(timeline.timeline(record, threshold, pictures, f"file{number}"))
    for face in record["faces"]:
        if face["evidence"] is None:
            parts.append(_unjudged_face(folder, face))
            continue
        caption = f"Face {face['face']}: score {face['score']:.3f}, {SAID[face['status']]}"
        caption += probability_said(face)
        if (folder / face["evidence"]).is_file():
            parts.append(picture_file(folder / face["evidence"], MOST_BYTES, caption))
        else:
            parts.append(f"<p>{caption}; its picture {escaped(face['evidence'])} is gone.</p>")
    return "\n".join([*parts, *_beside(record)])


def _unjudged_face(folder: pathlib.Path, face: Mapping[str, Any]) -> str:
    said = f"Face {face['face']}, unknown: {face['reason']}"
    if (folder / face["picture"]).is_file():
        return picture((folder / face["picture"]).read_bytes(), said)
    return f"<p>{escaped(said)}; its picture {escaped(face['picture'])} is gone.</p>"


def _source(source: Mapping[str, Any]) -> str:
    said = f"{source['kind']}, {source['codec']}, {source['width']} x {source['height']}"
    if source["kind"] == "video":
        looked_at = source["frames_looked_at"]
        said += f", {source['seconds']:.1f} s, {looked_at} of {source['frames']} frames looked at"
    return said


def _unknown(folder: pathlib.Path, records: Sequence[Mapping[str, Any]], count: int) -> str:
    parts = [plain_table(["file", "reason"], [(r["path"], r["reason"]) for r in records])]
    if count > len(records):
        parts.append(f"<p>{count - len(records)} more are in predictions.csv.</p>")
    shown = _that_fit(records)
    for record in shown:
        if record["faces"]:
            parts.append(f"<h3>{escaped(record['path'])}</h3>")
            faces = "".join(_unjudged_face(folder, face) for face in record["faces"])
            parts.append(f'<div class="faces">{faces}</div>')
            parts += _beside(record)
    rest = sum(len(record["faces"]) for record in records[len(shown) :])
    if rest:
        parts.append(f"<p>{rest} more faces are in predictions.csv.</p>")
    return "\n".join(parts)


def _beside(record: Mapping[str, Any]) -> list[str]:
    """What there is beside the faces that are shown."""
    parts = []
    if record["annotated"]:
        parts.append(f"<p>With boxes and scores: {escaped(record['annotated'])}</p>")
    if record["faces_left_out"]:
        parts.append(f"<p>{record['faces_left_out']} smaller faces were left out.</p>")
    return parts


def _made(about: Mapping[str, Any]) -> str:
    detector, calibrations = about["detector"], about["calibrations"]
    calibrated = [f"{one['method']} for {name}s" for name, one in calibrations.items() if one]
    rows = [
        ("detector", f"{detector['path']}, {detector['checkpoint']}"),
        ("digest of its weights", detector["digest"]),
        ("trained on", ", ".join(detector["trained_datasets"]) or "not recorded"),
        ("manipulations in training", ", ".join(detector["trained_methods"]) or "not recorded"),
        ("calibration", ", ".join(calibrated) or "none"),
        ("score of a face in a video", about["aggregate"]["how"]),
        *about["versions"].items(),
    ]
    return f"<pre>{escaped(about['command'])}</pre>{plain_table(['what', 'value'], rows)}"
