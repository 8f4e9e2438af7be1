"""The report of a preparation: numbers, drops with reasons, and sheets of faces to look at."""

import collections
import itertools
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rffr_jax.data.selection import evenly_spaced
from rffr_jax.faces.media import Benchmark, Medium
from rffr_jax.faces.runners import Work
from rffr_jax.images.image_formats import decode_crop
from rffr_jax.reports.contact_sheet import contact_sheet

SHEET_ROWS = 6


def make_report(work: Work, benchmark: Benchmark) -> dict[str, Any]:
    """The content of `report.json`.

    Args:
      work: has prepared the media.
      benchmark: what was found.

    Returns:
      `splits`: for each split, data set and method the numbers of media, frames wanted, faces, and
      media without a face. `reasons`: drops by reason, with N for its numbers. `without_face`: ids
      of media. `several_faces`: how many media show several, by what told which one is taken.
      `conversions`: of how many media pixels were changed, by what was done. `missing` and
      `notes`, as in `Benchmark`. `left_out`: files that are not read, by ending. `drops`: every
      one, `frame` null for a whole medium. `media`: a row for each, with its `status`: `ok`,
      `error` (it cannot be read) or `missing` (`Benchmark.absent`).
    """
    numbers: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    reasons: collections.Counter[str] = collections.Counter()
    drops: list[dict[str, Any]] = []
    media = [{"id": id_, "status": "missing"} for id_ in benchmark.absent]
    without: list[str] = []
    several: collections.Counter[str] = collections.Counter()
    conversions: collections.Counter[str] = collections.Counter()
    for medium in benchmark.media:
        part = work.part(medium, images=False)
        methods = numbers.setdefault(medium.split, {}).setdefault(medium.dataset, {})
        cell = methods.setdefault(
            medium.method, {"media": 0, "frames": 0, "faces": 0, "without_face": 0}
        )
        unreadable = any(drop.frame is None for drop in part.drops)
        media.append({"id": medium.id, "status": "error" if unreadable else "ok"})
        cell["media"] += 1
        cell["frames"] += part.frames
        cell["faces"] += len(part.records)
        if part.told_by:
            several[part.told_by] += 1
        done = {text for record in part.records for text in record.conversions.split("; ")}
        conversions.update(done - {""})
        if not part.records:
            cell["without_face"] += 1
            without.append(medium.id)
        for drop in part.drops:
            reasons[re.sub(r"\d+", "N", drop.reason)] += 1
            drops.append({"medium": medium.id, "frame": drop.frame, "reason": drop.reason})
    return {
        "splits": numbers,
        "reasons": dict(reasons.most_common()),
        "without_face": without,
        "several_faces": dict(several.most_common()),
        "conversions": dict(conversions.most_common()),
        "missing": list(benchmark.missing),
        "notes": list(benchmark.notes),
        "left_out": dict(benchmark.left_out.counts.most_common()),
        "drops": drops,
        "media": media,
    }


def draw_sheet(file: pathlib.Path, work: Work, media: Sequence[Medium], without: set[str]):
    """A PNG with a column for each data set and method: middle faces of media from all over.

    Of each data set "real" comes first; titles name the data set where there are several.

    Args:
      without: ids of media that gave no face; if none gave one, nothing is drawn.
    """
    shown: dict[tuple[str, str], list[Medium]] = {}
    for medium in media:
        if medium.id not in without:
            shown.setdefault((medium.dataset, medium.method), []).append(medium)
    several = len({dataset for dataset, _ in shown}) > 1
    columns = {
        f"{dataset} {method}" if several else method: [
            _middle_face(work, medium) for medium in evenly_spaced(of_method, SHEET_ROWS)
        ]
        for (dataset, method), of_method in sorted(
            shown.items(), key=lambda item: (item[0][0], item[0][1] != "real", item[0][1])
        )
    }
    if columns:
        size = work.settings.crop.size
        nothing = np.full((size, size, 3), 255, np.uint8)
        rows = itertools.zip_longest(*columns.values(), fillvalue=nothing)
        contact_sheet(file, list(map(list, rows)), list(columns))


def _middle_face(work: Work, medium: Medium) -> np.ndarray:
    records = work.part(medium).records
    record = records[len(records) // 2]
    return decode_crop(record.image, work.settings.image_format, work.settings.crop.size, record.id)
