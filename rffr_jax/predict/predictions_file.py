"""predictions.json and predictions.csv. `docs/predict.md` describes the schema."""

import collections
import csv
import json
import pathlib
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from rffr_jax.runs.atomic_files import atomic_write

SCHEMA = 3
"""Rises when a field is removed or changes its meaning, not when a field is added."""

EDGES = ("left", "top", "right", "bottom")
CSV_COLUMNS = (
    *("path", "sha256", "examined", "status", "score", "probability", "reason"),
    *("face", "face_status", "face_score", "face_probability", "face_reason", *EDGES),
    *("frames", "peak_frame", "peak_time", "evidence", "threshold", "doubts", "note"),
)


def write_predictions(
    folder: pathlib.Path, about: Mapping[str, Any], files: Iterable[Mapping[str, Any]]
) -> dict[str, int]:
    """Writes both files, a record at a time.

    Args:
      about: the fields of predictions.json that precede its `files`.
      files: `records.file_record` of each; read once.

    Returns:
      How many files have each status.
    """
    counts = collections.Counter({"real": 0, "fake": 0, "unknown": 0})
    with (
        atomic_write(folder / "predictions.json") as json_part,
        atomic_write(folder / "predictions.csv") as csv_part,
        json_part.open("w", encoding="utf-8", errors="backslashreplace") as json_file,
        csv_part.open("w", encoding="utf-8", newline="") as csv_file,
    ):
        table = csv.DictWriter(csv_file, CSV_COLUMNS)
        table.writeheader()
        head = _to_json({"schema": SCHEMA, **about})
        json_file.write(head.removesuffix("\n}") + ',\n  "files": [')
        for number, record in enumerate(files):
            counts[record["status"]] += 1
            json_file.write(",\n" if number else "\n")
            json_file.write(textwrap.indent(_to_json(record), "    "))
            table.writerows(_rows(record, about))
        json_file.write(f'\n  ],\n  "counts": {json.dumps(counts)}\n}}\n')
    return dict(counts)


def _to_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)


def _rows(record: Mapping[str, Any], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each face; one for a file without a face."""
    names = ("path", "sha256", "examined", "status", "score", "probability", "reason")
    common = {name: record[name] for name in names}
    threshold = record["threshold"] or {"value": None, "doubts": []}
    common |= {"threshold": threshold["value"], "doubts": "; ".join(threshold["doubts"])}
    common |= {"note": about["note"]}
    if not record["faces"]:
        return [common]
    rows = []
    for face in record["faces"]:
        edges = zip(EDGES, face["box"] or [None] * 4, strict=True)
        peak = face["peak"] or {}
        rows.append(
            common
            | {
                "face": face["face"],
                "face_status": face["status"],
                "face_score": face["score"],
                "face_probability": face["probability"],
                "face_reason": face["reason"],
                "frames": len(face["frames"]),
                "peak_frame": peak.get("frame"),
                "peak_time": peak.get("time"),
                "evidence": face["evidence"],
            }
            | dict(edges)
        )
    return rows
