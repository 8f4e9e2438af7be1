"""A table of media: any data of one's own, or a benchmark that has no reader.

    path,label[,split,video,frame,dataset,method,source,group,person,mask]
    clips/a.mp4,real
    frames/b,fake                  a folder of pictures is one video

docs/data.md describes the columns.
"""

import collections
import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Sequence

from rffr_jax.data.readers.folder import default_dataset_name
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import FAKE, REAL
from rffr_jax.faces.benchmarks.catalogue import Catalogue
from rffr_jax.faces.frame_folder import list_frames
from rffr_jax.faces.media import SPLIT_NAMES, Benchmark, Medium
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from rffr_jax.runs.text_files import read_table

log = logging.getLogger(__name__)

REQUIRED = ("path", "label")
OPTIONAL = ("split", "video", "frame", "dataset", "method", "source", "group", "person", "mask")
LABELS = {"0": REAL, "1": FAKE, "real": REAL, "fake": FAKE}


def find(file: pathlib.Path) -> Benchmark:
    """The media that a table lists; ids are their paths relative to the table.

    A path that is not there, or that is no video and no picture, is noted as missing.

    Raises:
      UserError: no such table, or a line that is wrong; the line is named.
    """
    catalogue = Catalogue(file.parent)
    lines: dict[object, str] = {}  # where each path, and each frame of a named video, is listed
    media = []
    rows = list(read_table(file, REQUIRED, OPTIONAL))
    for place, row in rows:
        medium = _make_medium(file, place, row)
        _refuse_twice(lines, place, medium.id, medium.id)
        if not _is_there(catalogue, place, medium):
            continue
        if medium.video:
            frame = (medium.dataset, medium.method, medium.video, medium.frame)
            _refuse_twice(lines, place, frame, f"frame {medium.frame} of video {medium.video!r}")
        media.append(medium)
    if not rows:
        raise UserError(f"{file}: no media are listed; add some")
    if "split" not in rows[0][1]:
        log.info("%s: there is no column `split`: all media are in train", file)
    for medium in _make_video_names_unique(_resolve_sources(file, media)):
        source = medium.source or medium.video or medium.id
        catalogue.add(dataclasses.replace(medium, source=source))
    return catalogue.benchmark()


def _make_medium(file: pathlib.Path, place: str, row: dict[str, str]) -> Medium:
    label = LABELS.get(row["label"].lower())
    if label is None:
        raise UserError(f"{place}: label {row['label']!r}; write 0 or real, or 1 or fake")
    method = row.get("method") or ("real" if label == REAL else "fake")
    if (method == "real") != (label == REAL):
        raise UserError(
            f"{place}: label {row['label']} with method '{method}'; "
            "0 goes with 'real' or no method, 1 with a manipulation"
        )
    split = SPLIT_NAMES.get(row.get("split", "train").lower())
    if split is None:
        raise UserError(f"{place}: split {row['split']!r}; write one of {', '.join(SPLIT_NAMES)}")
    path = _absolute(file, place, row["path"])
    mask = _absolute(file, place, row["mask"]) if row.get("mask") else None
    if mask and label == REAL:
        raise UserError(f"{place}: a mask of a real; a mask is of a fake, empty the cell")
    video, frame = _video_and_frame(place, row, path)
    id_ = _id(file, path)
    return Medium(
        id=id_,
        path=path,
        split=split,
        label=label,
        dataset=row.get("dataset") or default_dataset_name(file),
        method=method,
        source=row.get("source") or ((video or id_) if label == REAL else ""),
        group=row.get("group", ""),
        person=row.get("person", ""),
        mask=mask,
        video=video,
        frame=frame,
    )


def _absolute(file: pathlib.Path, place: str, text: str) -> pathlib.Path:
    posix = text.replace("\\", "/")
    if re.match("[A-Za-z]:|//", posix):
        raise UserError(
            f"{place}: {text!r} is a path of another machine; write paths relative to the table"
        )
    if not posix.strip("./") or not text.isprintable():
        raise UserError(f"{place}: path {text!r} is no file or folder; name one")
    return pathlib.Path(os.path.normpath(file.parent / posix))


def _id(file: pathlib.Path, path: pathlib.Path) -> str:
    inside = path.is_relative_to(file.parent)
    return (path.relative_to(file.parent) if inside else path.relative_to("/")).as_posix()


def _video_and_frame(place: str, row: dict[str, str], path: pathlib.Path) -> tuple[str, int]:
    """The video that is named, if any; of a picture also the number of its frame, else 0."""
    video, frame = row.get("video", ""), row.get("frame", "")
    if not video or path.suffix.lower() not in IMAGE_EXTENSIONS:
        if frame:
            raise UserError(f"{place}: frame {frame!r}; it goes with a picture and its `video`")
        return video, 0
    if not frame:
        end = re.search(r"[0-9]+$", path.stem)
        if end is None:
            raise UserError(f"{place}: {path.name} ends in no number; fill the column `frame`")
        frame = end[0]
    if not (frame.isascii() and frame.isdigit()):
        raise UserError(f"{place}: frame {frame!r}; write a whole number from 0 up")
    return video, int(frame)


def _refuse_twice(lines: dict[object, str], place: str, key: object, what: str):
    if key in lines:
        raise UserError(f"{place}: {what} is listed before, at {lines[key]}; list it once")
    lines[key] = place.rpartition(": ")[2]


def _is_there(catalogue: Catalogue, place: str, medium: Medium) -> bool:
    """Whether the medium can be taken; notes why not."""
    if medium.mask and not medium.mask.exists():
        catalogue.note(f"{medium.id}: its mask {catalogue.name(medium.mask)} is not there")
    if os.path.isdir(medium.path):
        try:
            catalogue.note_gaps(medium.id, list_frames(medium.path))
        except BadImageError as error:
            catalogue.miss(f"{medium.id}: {error.reason}")
            return False
        return True
    if not os.path.isfile(medium.path):
        catalogue.absent(medium.id, medium.split, f"listed at {place}")
        return False
    if medium.path.suffix.lower() not in VIDEO_EXTENSIONS + IMAGE_EXTENSIONS:
        catalogue.miss(f"{medium.id}: neither a video nor a picture by its ending")
        return False
    return True


def _resolve_sources(file: pathlib.Path, media: Sequence[Medium]) -> list[Medium]:
    """A source that is the path, or the name of the video, of a listed real becomes its source.

    That real is a fake's `original`; of a video, the one with the fake's number.
    """
    by_id = {m.id: m for m in media}
    videos: dict[object, dict[int, Medium]] = collections.defaultdict(dict)
    for real in media:
        if real.video and real.label == REAL:
            for name in (real.video, (real.dataset, real.video)):
                videos[name][real.frame] = real
    resolved = []
    for medium in media:
        path = pathlib.Path(os.path.normpath(file.parent / medium.source.replace("\\", "/")))
        real, source = by_id.get(_id(file, path)), medium.source
        if real:
            source = real.source or real.id
        elif frames := videos.get((medium.dataset, source)) or videos.get(source):
            real, source = frames.get(medium.frame), next(iter(frames.values())).source
        original = real.path if real and medium.label == FAKE else None
        resolved.append(dataclasses.replace(medium, source=source, original=original))
    return resolved


def _make_video_names_unique(media: list[Medium]) -> list[Medium]:
    """A name that stands under several methods or data sets becomes DATASET/METHOD/NAME."""
    owners = collections.defaultdict(set)
    for medium in media:
        owners[medium.video].add((medium.dataset, medium.method))
    return [
        dataclasses.replace(m, video=f"{m.dataset}/{m.method}/{m.video}")
        if m.video and len(owners[m.video]) > 1
        else m
        for m in media
    ]
