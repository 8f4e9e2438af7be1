"""Lists of images: `list:FILE` (JSON, the format of RFFR's authors) and `csv:FILE`."""

import array
import collections
import dataclasses
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float32

from rffr_jax.data.readers.folder import (
    FileDataset,
    default_dataset_name,
    warn_of_repeated_frames,
)
from rffr_jax.data.readers.landmark_order import ORDER, find_landmark_problem
from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, REAL, Example
from rffr_jax.images.file_header import read_image_header
from rffr_jax.images.landmarks import ALL, FIVE
from rffr_jax.runs.text_files import check_columns, read_json, read_table

log = logging.getLogger(__name__)

REQUIRED = ("path", "label")
OPTIONAL = ("video", "method", "dataset", "source", "group", "landmarks", "mask", "frame")
SIZES_CHECKED = 8  # pictures whose size is compared with their landmarks before anything is read
LABELS = {"0": REAL, "1": FAKE}
NUMBER = re.compile(r"\d+$")
LISTED = 8  # lines with bad landmarks that are named
_OTHER_MACHINE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def read_list(file: Path) -> FileDataset:
    """Reads a JSON list `[{"path": ..., "label": 0 or 1, ...}, ...]`.

    Paths are relative to the list; backslashes count as slashes. Label 0 is real, 1 is fake. An
    entry may hold the columns of `read_csv` besides, and nothing else.

    Raises:
      UserError: the list is missing, empty or not such a list; the entry is named, counted from 1.
    """
    where = f"list:{file}"
    entries = read_json(file)
    if not isinstance(entries, list):
        raise UserError(f'{where}: not a JSON list; it needs [{{"path": ..., "label": 0 or 1}}]')
    return _make_dataset(file, where, _read_entries(where, entries))


def _read_entries(where: str, entries: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries after their places; each is let go, so that a long list is not there twice."""
    columns = ()
    for index, entry in enumerate(entries):
        entries[index] = None
        place = f"{where}: entry {index + 1}"
        if not isinstance(entry, dict):
            raise UserError(f'{place} is no object; it needs {{"path": ..., "label": 0 or 1}}')
        if tuple(entry) != columns:
            check_columns(place, entry, REQUIRED, OPTIONAL)
            columns = tuple(entry)
        if type(entry["label"]) is not int or entry["label"] not in (REAL, FAKE):
            raise UserError(f"{place}: label {entry['label']!r}; it must be 0 (real) or 1 (fake)")
        if type(entry.get("frame")) is int:
            entry = entry | {"frame": str(entry["frame"])}
        for name, cell in entry.items():
            if name != "label" and not isinstance(cell, str):
                raise UserError(f"{place}: {name} {cell!r} is no text; put it in quotes")
        yield place, entry


def read_csv(file: Path) -> FileDataset:
    """Reads a table with `path,label[,video,method,dataset,source,group,landmarks,mask,frame]`.

    Paths are relative to the file; backslashes count as slashes. Label 0 is real, 1 is fake. Empty
    cells and absent columns mean: method "fake" (for a fake), dataset = FOLDER/FILE (the file's
    name without extension), video = the path without extension (a photograph is its own video),
    source = the video, group = source. Frames of one `video` are ordered by `frame` (a whole
    number), else by the number that ends the file's name, else by their order here; a warning
    names numbers that several frames of a video have. A video name that stands under several
    methods or data sets (as the four manipulations of one FaceForensics++ pair do) becomes
    `dataset/method/video`, so that they do not merge; `source` keeps the names as written. A source
    that is the path of a listed image means that image's. `landmarks` are 68 or five points, x and
    y in pixels of the image, with spaces between the numbers, in the order of `images.landmarks`.
    `mask` is a grey picture of a fake, relative to the file: white where it is manipulated.
    A warning names lines whose points can be no face's; `face` raises BadImageError for them.

    Raises:
      UserError: the table is missing, empty or not such a table, or most of its landmarks can be no
        face's; the line is named.
    """
    where = f"csv:{file}"
    return _make_dataset(file, where, _read_rows(file, where))


def _read_rows(file: Path, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, row in read_table(file, REQUIRED, OPTIONAL, where):
        label = LABELS.get(row["label"])
        if label is None:
            raise UserError(f"{place}: label {row['label']!r}; it must be 0 (real) or 1 (fake)")
        yield place, row | {"label": label}


def _make_dataset(
    file: Path, where: str, rows: Iterator[tuple[str, dict[str, Any]]]
) -> FileDataset:
    name = default_dataset_name(file)
    lines = array.array("Q")  # the number in each row's place
    examples, landmarks, masks = [], [], []
    seen: set[str] = set()
    frames = collections.Counter()
    cells: dict[str, str] = {}  # so that equal cells are one object
    word = ""
    for place, row in rows:
        word, _, number = place.removeprefix(f"{where}: ").rpartition(" ")
        example = _make_example(str(file.parent), name, place, row, frames, cells)
        if example.id in seen:
            earlier = next(i for i, other in enumerate(examples) if other.id == example.id)
            raise UserError(f"{place}: {example.id} is listed before, at {word} {lines[earlier]}")
        seen.add(example.id)
        lines.append(int(number))
        examples.append(example)
        landmarks.append(_parse_landmarks(row))
        masks.append(_normalise(row["mask"]) if row.get("mask") else "")
    if not examples:
        raise UserError(f"{where}: no images are listed; add some")
    del seen, cells
    examples = _make_video_names_unique(_resolve_sources(examples))
    warn_of_repeated_frames(where, examples)
    places = (
        [f"{word} {number}" for number in lines]
        if any(points is not None for points in landmarks)
        else []
    )
    _check_landmarks(where, places, examples, landmarks)
    return FileDataset(
        name,
        file.parent,
        tuple(examples),
        tuple(landmarks) if places else (),
        tuple(masks) if any(masks) else (),
    )


def _parse_landmarks(row: dict) -> Float32[np.ndarray, "points 2"] | None:
    """The points of a line; NaN where they cannot be read."""
    if not row.get("landmarks"):
        return None
    try:
        points = np.array([float(number) for number in row["landmarks"].split()], np.float32)
    except ValueError:
        points = np.empty(0)
    if len(points) not in (2 * FIVE, 2 * ALL):
        return np.full((FIVE, 2), np.nan, np.float32)
    return points.reshape(-1, 2)


def _check_landmarks(
    where: str,
    places: list[str],
    examples: list[Example],
    landmarks: list[np.ndarray | None],
):
    """Names the lines whose points can be no face's: `FileDataset.face` makes bad files of them.

    Raises:
      UserError: it is most lines.
    """
    known = [
        (place, example, points)
        for place, example, points in zip(places, examples, landmarks, strict=False)
        if points is not None
    ]
    bad = []
    for number, (place, example, points) in enumerate(known):
        header = read_image_header(example.path) if number < SIZES_CHECKED else None
        if problem := find_landmark_problem(points, header and header.size):
            bad.append(f"{place}: {problem}")
    if not bad:
        return
    what = f"{where}: landmarks that can be no face's in {len(bad)} of {len(known)} lines"
    order = (
        f"the order is {ORDER[len(known[0][2])]}, x and y in turn, in pixels of the image, left "
        "and right as in the picture"
    )
    if 2 * len(bad) > len(known):
        raise UserError(f"{what}, the first {bad[0]}; {order}")
    listed = "; ".join(bad[:LISTED]) + (f"; and {len(bad) - LISTED} more" * (len(bad) > LISTED))
    log.warning("%s, which self-blending takes as bad files (%s); %s", what, listed, order)


def _make_example(
    root: str,
    dataset: str,
    place: str,
    row: dict[str, Any],
    frames: collections.Counter,
    cells: dict[str, str],
) -> Example:
    id_ = _normalise(row["path"])
    if not id_.strip("./"):
        raise UserError(f"{place}: path {row['path']!r} is no file; name an image")
    if _OTHER_MACHINE.match(row["path"]):
        raise UserError(
            f"{place}: {row['path']!r} is a path of another machine; write paths relative to the "
            "table"
        )
    label = row["label"]
    method = row.get("method") or ("real" if label == REAL else "fake")
    if (method == "real") != (label == REAL):
        raise UserError(
            f"{place}: label {label} with method '{method}'; "
            "0 goes with 'real' or no method, 1 with a manipulation"
        )
    stem, frame = os.path.splitext(id_)[0], 0
    video = row.get("video") or stem
    dataset = row.get("dataset") or dataset
    if row.get("video"):
        number = NUMBER.search(stem)
        key = (dataset, method, video)
        frame = int(number[0]) if number else frames[key]
        frames[key] += 1
    if row.get("frame"):
        frame = _parse_frame(place, row["frame"])
    return Example(
        id=id_,
        path=id_ if root == "." else os.path.join(root, id_),
        label=label,
        dataset=cells.setdefault(dataset, dataset),
        method=cells.setdefault(method, method),
        video=cells.setdefault(video, video) if row.get("video") else video,
        frame=frame,
        source=cells.setdefault(row["source"], row["source"]) if row.get("source") else video,
        group=cells.setdefault(row["group"], row["group"]) if row.get("group") else "",
    )


def _parse_frame(place: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{place}: frame {text!r}; write a whole number from 0 up")
    return int(text)


def _normalise(path: str) -> str:
    path = path.replace("\\", "/")
    if "//" in path or "./" in path or path.endswith(("/", "/.")):
        return str(PurePosixPath(re.sub("/+", "/", path)))  # it keeps two slashes in front
    return path


def _resolve_sources(examples: list[Example]) -> list[Example]:
    """A source that is the id of an example becomes the source of that example."""
    ids = {source: _normalise(source) for source in {example.source for example in examples}}
    wanted = set(ids.values())
    source_of = {example.id: example.source for example in examples if example.id in wanted}
    if not source_of:
        return examples
    resolved = {source: source_of.get(id_, source) for source, id_ in ids.items()}
    return [
        example
        if resolved[example.source] == example.source
        else dataclasses.replace(example, source=resolved[example.source])
        for example in examples
    ]


def _make_video_names_unique(examples: list[Example]) -> list[Example]:
    owners: dict[str, tuple[str, str]] = {}
    kinds: dict[tuple[str, str], tuple[str, str]] = {}
    shared: set[str] = set()
    for example in examples:
        kind = (example.dataset, example.method)
        kind = kinds.setdefault(kind, kind)
        if owners.setdefault(example.video, kind) != kind:
            shared.add(example.video)
    return [
        dataclasses.replace(example, video=f"{example.dataset}/{example.method}/{example.video}")
        if example.video in shared
        else example
        for example in examples
    ]
