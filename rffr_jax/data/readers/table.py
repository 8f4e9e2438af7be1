"""Lists of images: `list:FILE` (JSON, the format of RFFR's authors) and `csv:FILE`."""

import collections
import dataclasses
import logging
import re
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32

from rffr_jax.data.readers.folder import (
    FileDataset,
    default_dataset_name,
    photograph_example,
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
LISTED = 8  # lines with bad landmarks that are named


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
    rows = []
    for number, entry in enumerate(entries, start=1):
        place = f"{where}: entry {number}"
        if not isinstance(entry, dict):
            raise UserError(f'{place} is no object; it needs {{"path": ..., "label": 0 or 1}}')
        check_columns(place, entry, REQUIRED, OPTIONAL)
        if type(entry["label"]) is not int or entry["label"] not in (REAL, FAKE):
            raise UserError(f"{place}: label {entry['label']!r}; it must be 0 (real) or 1 (fake)")
        if type(entry.get("frame")) is int:
            entry = entry | {"frame": str(entry["frame"])}
        for name in ("path", *OPTIONAL):
            if not isinstance(entry.get(name, ""), str):
                raise UserError(f"{place}: {name} {entry[name]!r} is no text; put it in quotes")
        rows.append((place, entry))
    return _make_dataset(file, where, rows)


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
    rows = []
    for place, row in read_table(file, REQUIRED, OPTIONAL, where):
        if row["label"] not in ("0", "1"):
            raise UserError(f"{place}: label {row['label']!r}; it must be 0 (real) or 1 (fake)")
        rows.append((place, row | {"label": int(row["label"])}))
    return _make_dataset(file, where, rows)


def _make_dataset(file: Path, where: str, rows: list[tuple[str, dict]]) -> FileDataset:
    if not rows:
        raise UserError(f"{where}: no images are listed; add some")
    places: dict[str, str] = {}
    examples, landmarks = [], []
    frames = collections.Counter()
    for place, row in rows:
        example = _make_example(file, place, row, frames)
        if example.id in places:
            raise UserError(f"{place}: {example.id} is listed before, at {places[example.id]}")
        places[example.id] = place.removeprefix(f"{where}: ")
        examples.append(example)
        landmarks.append(_parse_landmarks(row))
    examples = _make_video_names_unique(_resolve_sources(examples))
    warn_of_repeated_frames(where, examples)
    _check_landmarks(where, rows, examples, landmarks)
    known = tuple(landmarks) if any(points is not None for points in landmarks) else ()
    masks = tuple(str(_to_posix(row["mask"])) if row.get("mask") else "" for _, row in rows)
    name = default_dataset_name(file)
    return FileDataset(name, file.parent, tuple(examples), known, masks if any(masks) else ())


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
    rows: list[tuple[str, dict]],
    examples: list[Example],
    landmarks: list[np.ndarray | None],
):
    """Names the lines whose points can be no face's: `FileDataset.face` makes bad files of them.

    Raises:
      UserError: it is most lines.
    """
    known = [
        (place, example, points)
        for (place, _), example, points in zip(rows, examples, landmarks, strict=True)
        if points is not None
    ]
    bad = []
    for number, (place, example, points) in enumerate(known):
        header = read_image_header(example.path) if number < SIZES_CHECKED else None
        if problem := find_landmark_problem(points, header and header.size):
            bad.append(f"{place.removeprefix(f'{where}: ')}: {problem}")
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


def _make_example(file: Path, place: str, row: dict, frames: collections.Counter) -> Example:
    path = _to_posix(row["path"])
    if not path.name:
        raise UserError(f"{place}: path {row['path']!r} is no file; name an image")
    method = row.get("method") or ("real" if row["label"] == REAL else "fake")
    if (method == "real") != (row["label"] == REAL):
        raise UserError(
            f"{place}: label {row['label']} with method '{method}'; "
            "0 goes with 'real' or no method, 1 with a manipulation"
        )
    example = photograph_example(
        file.parent,
        path,
        row["label"],
        method,
        dataset=row.get("dataset") or default_dataset_name(file),
    )
    video, frame = example.video, 0
    if row.get("video"):
        video = row["video"]
        number = re.search(r"(\d+)$", path.stem)
        key = (example.dataset, method, video)
        frame = int(number[1]) if number else frames[key]
        frames[key] += 1
    if row.get("frame"):
        frame = _parse_frame(place, row["frame"])
    return dataclasses.replace(
        example,
        video=video,
        frame=frame,
        source=row.get("source") or video,
        group=row.get("group") or "",
    )


def _parse_frame(place: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{place}: frame {text!r}; write a whole number from 0 up")
    return int(text)


def _to_posix(path: str) -> PurePosixPath:
    return PurePosixPath(path.replace("\\", "/"))


def _resolve_sources(examples: list[Example]) -> list[Example]:
    source_of = {example.id: example.source for example in examples}
    return [
        dataclasses.replace(
            example, source=source_of.get(str(_to_posix(example.source)), example.source)
        )
        for example in examples
    ]


def _make_video_names_unique(examples: list[Example]) -> list[Example]:
    owners = collections.defaultdict(set)
    for example in examples:
        owners[example.video].add((example.dataset, example.method))
    return [
        dataclasses.replace(example, video=f"{example.dataset}/{example.method}/{example.video}")
        if len(owners[example.video]) > 1
        else example
        for example in examples
    ]
