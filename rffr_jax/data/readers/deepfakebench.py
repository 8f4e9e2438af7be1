"""DeepfakeBench's dataset JSON: read as `deepfakebench:FILE#split`, and written as an export.

    {NAME: {LABEL: {SPLIT: {VIDEO: {"label": LABEL, "frames": [PATH, ...]}}}}}

with one more level, the compression, between SPLIT and VIDEO for FaceForensics++ and
DeepFakeDetection. The splits are called train, val and test there. Files are written on whatever
machine: paths may be absolute, begin with `./datasets/`, or hold backslashes.
"""

import collections
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rffr_jax.data.readers.deepfakebench_labels import LABELS, naming_of, parse_label
from rffr_jax.data.readers.folder import (
    FileDataset,
    default_dataset_name,
    warn_of_repeated_frames,
)
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Dataset, Example
from rffr_jax.images.image_formats import encode_crop
from rffr_jax.runs.atomic_files import write_json
from rffr_jax.runs.text_files import read_json

log = logging.getLogger(__name__)

SPLITS = {"train": "train", "validation": "val", "test": "test"}

_WITH_COMPRESSION = ("FaceForensics++", "DeepFakeDetection")
_NAMES_WITH_COMPRESSION = (
    *_WITH_COMPRESSION, "FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FaceShifter",
)  # fmt: skip
_FOLDERS_OF_IMAGES = (".", "rgb", "datasets", "datasets/rgb")
_MAX_VIDEOS_TRIED = 20


def read_deepfakebench(file: Path, split: str, compression: str | None = None) -> FileDataset:
    """Reads one split of a dataset JSON.

    Paths count below the nearest folder where frames are found: the file's own or one above it, or
    `rgb`, `datasets` or `datasets/rgb` in one of these; the leading folders of a path that are not
    there are left out. The frames of a video are ordered by the number that ends their name.

    Names are as in prepared records: the video METHOD/NAME, and for FaceForensics++ and Celeb-DF
    source and group by the rules of their file names; other videos are their own source. Where an
    entry holds `video`, `source` and `group`, as `write_deepfakebench` writes them, these count.

    Args:
      file: the JSON file.
      split: one of `SPLITS`.
      compression: level to read, needed where the file has several.

    Raises:
      UserError: the file is missing or no such file, has no such split or compression, holds a
        label that is not in `LABELS` and ends in neither real nor fake, or none of its frames is
        found.
    """
    where = f"deepfakebench:{file}"
    if split not in SPLITS:
        raise UserError(f"{where}: split '{split}'; the splits are {', '.join(SPLITS)}")
    name, all_videos = _read_videos(file, where)
    videos = _choose_videos(all_videos, split, compression, where)
    meanings = _read_labels(videos, name, where)
    _warn_of_shared_videos(all_videos, split, where)
    root, dropped = _find_root(file, [video.entry["frames"][0] for video in videos], where)
    partners = _find_partners(all_videos)
    examples: list[Example] = []
    for _, _, _, video_name, entry in videos:
        label, dataset, method = meanings[entry["label"]]
        video, source, group = _parse_video_name(naming_of(dataset), method, video_name, partners)
        for frame, path in _number_frames(entry["frames"]):
            relative = PurePosixPath(*path.parts[dropped:])
            examples.append(
                Example(
                    id=str(relative),
                    path=str(root / relative),
                    label=label,
                    dataset=dataset,
                    method=method,
                    video=entry.get("video", video),
                    frame=frame,
                    source=entry.get("source", source),
                    group=entry.get("group", group),
                )
            )
    counts = collections.Counter(example.id for example in examples)
    repeated, times = counts.most_common(1)[0]
    if times > 1:
        raise UserError(f"{where}: {repeated} is listed {times} times in {split}; list it once")
    warn_of_repeated_frames(where, examples)
    return FileDataset(default_dataset_name(file), root, tuple(examples))


def write_deepfakebench(
    file: Path, splits: Mapping[str, Dataset], root: Path, *, size: int, compression: str = ""
):
    """Writes examples as PNG files and the dataset JSON that lists them.

    The frames are ROOT/DATASET/METHOD[/COMPRESSION]/frames/VIDEO/FRAME.png; paths in the JSON are
    relative to `root`, the toolkit's `rgb_dir`. The JSON comes last: where it is, the frames are
    whole. It holds `video`, `source` and `group` besides, which the toolkit does not read and
    `read_deepfakebench` does. Bad images are left out and named.

    Args:
      file: the JSON file; its name without extension is the data set's in the toolkit.
      splits: what each of `SPLITS` holds; one data set in all.
      root: the folder of images; put `file` in it or beside it under the name `rgb`.
      size: height and width of the images, in pixels.
      compression: of the videos; needed for the data sets where the toolkit wants one.

    Raises:
      UserError: the toolkit has no label for a method, several data sets, the toolkit would not
        find a compression under the file's name, or the disk cannot be written.
    """
    kinds = {
        (example.label, example.dataset, example.method)
        for dataset in splits.values()
        for example in dataset.examples
    }
    check_export(file, kinds, compression)
    nested = any(dataset in _WITH_COMPRESSION for _, dataset, _ in kinds)
    labels: dict[str, Any] = {}
    written: set[PurePosixPath] = set()
    try:
        for split, dataset in splits.items():
            for index, example in enumerate(dataset.examples):
                label = _toolkit_label(example.label, example.dataset, example.method)
                place = labels.setdefault(label, {name: {} for name in SPLITS.values()})
                videos = place[SPLITS[split]]
                if nested:
                    videos = videos.setdefault(compression, {})
                try:
                    image = dataset.load(index, size)
                except BadImageError as error:
                    log.warning("left out: %s: %s", error.name, error.reason)
                    continue
                path = _frame_path(example, compression)
                if path in written:
                    raise UserError(f"{file}: two images would be {path}; number a video's frames")
                written.add(path)
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(encode_crop(image, "png"))
                entry = videos.setdefault(
                    example.video.partition("/")[2] or example.video,
                    {
                        "label": label,
                        "frames": [],
                        "video": example.video,
                        "source": example.source,
                        "group": example.group,
                    },
                )
                entry["frames"].append(str(path))
        write_json(file, {file.stem: labels})
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{file} and {root} cannot be written: {reason}; make room") from error


def check_export(file: Path, kinds: Iterable[tuple[int, str, str]], compression: str):
    """Tells before any work is done whether `write_deepfakebench` would take the data.

    Args:
      kinds: label, data set and method of what is exported.

    Raises:
      UserError: as `write_deepfakebench`, but for the disk.
    """
    kinds = set(kinds)
    names = {dataset for _, dataset, _ in kinds}
    if len(names) != 1:
        found = ", ".join(sorted(names)) or "nothing"
        raise UserError(f"{file}: one data set goes into a DeepfakeBench file, here are {found}")
    for kind in sorted(kinds):
        _toolkit_label(*kind)
    name = names.pop()
    named = file.stem in _NAMES_WITH_COMPRESSION and compression
    if name in _WITH_COMPRESSION and not named:
        raise UserError(
            f"{file}: DeepfakeBench wants a compression for {name}, and the file called one of "
            f"{', '.join(_NAMES_WITH_COMPRESSION)}"
        )


def _toolkit_label(real_or_fake: int, dataset: str, method: str) -> str:
    for label, meaning in LABELS.items():
        if meaning == (real_or_fake, dataset, method):
            return label
    raise UserError(
        f"DeepfakeBench has no label for '{method}' of '{dataset}'; export "
        f"{', '.join(dict.fromkeys(dataset for _, dataset, _ in LABELS.values()))} only"
    )


def _frame_path(example: Example, compression: str) -> PurePosixPath:
    top, _, rest = example.video.rpartition("/")
    folder = PurePosixPath(example.dataset, top, compression, "frames", rest)
    if folder.is_absolute() or ".." in folder.parts:
        raise UserError(f"the video '{example.video}' would lie outside of the export; rename it")
    return folder / f"{example.frame:06d}.png"


# ---- the levels of the file


class _Video(NamedTuple):
    label: str
    split: str
    compression: str  # empty where the file has no such level
    name: str
    entry: dict[str, Any]

    @property
    def place(self) -> str:
        return f"{self.label}/{self.split}/{self.name}"


def _read_videos(file: Path, where: str) -> tuple[str, list[_Video]]:
    """The name of the data set, and its videos."""
    content = read_json(file)
    if not isinstance(content, dict) or len(content) != 1:
        raise UserError(
            f"{where}: not one data set in an object; it needs {{NAME: {{LABEL: ...}}}}"
        )
    ((name, labels),) = content.items()
    videos = []
    for label, splits in _children(labels, where, name):
        for split, group in _children(splits, where, label):
            for level, node in _children(group, where, f"{label}/{split}"):
                if "frames" in _require_object(node, where, f"{label}/{split}/{level}"):
                    videos.append(_Video(label, split, "", level, node))
                    continue
                for video, entry in _children(node, where, f"{label}/{split}/{level}"):
                    _require_object(entry, where, f"{label}/{split}/{level}/{video}")
                    videos.append(_Video(label, split, level, video, entry))
    return name, videos


def _read_labels(videos: list[_Video], name: str, where: str) -> dict[str, tuple[int, str, str]]:
    meanings = {}
    for video in videos:
        label = video.entry.get("label")
        meaning = parse_label(label, name)
        if meaning is None:
            raise UserError(
                f"{where}: {video.place} has the unknown label {label!r}; known are "
                f"{', '.join(LABELS)}, and names that end in _Real or _Fake"
            )
        meanings[label] = meaning
    return meanings


def _children(node: Any, where: str, place: str) -> Iterable[tuple[str, Any]]:
    return _require_object(node, where, place).items()


def _require_object(node: Any, where: str, place: str) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise UserError(
            f"{where}: {place} is {type(node).__name__} and no object; make the file again"
        )
    return node


def _choose_videos(
    videos: list[_Video], split: str, compression: str | None, where: str
) -> list[_Video]:
    """The videos of a split and a compression that have frames."""
    there = [video for video in videos if video.split == SPLITS[split]]
    levels = {video.compression for video in there}
    named = sorted(levels - {""})
    if compression and compression not in levels:
        raise UserError(
            f"{where}: no compression '{compression}' in {split}; "
            f"what is there: {', '.join(named) or 'videos without a compression'}"
        )
    if len(named) > 1 and not compression:
        raise UserError(
            f"{where}: {split} holds the compressions {', '.join(named)}; choose one: "
            f"?compression={named[0]}"
        )
    chosen = compression or (named[0] if named else "")
    kept = [video for video in there if video.compression == chosen]
    for video in kept:
        _check_entry(video, where)
    kept = [video for video in kept if video.entry["frames"]]
    if not kept:
        raise UserError(f"{where}: no frames in {split}; name another split or make the file again")
    return kept


def _check_entry(video: _Video, where: str):
    frames = video.entry.get("frames")
    if not isinstance(frames, list) or not all(isinstance(f, str) and f for f in frames):
        raise UserError(f"{where}: {video.place} has no list of frames; make the file again")
    for key in ("video", "source", "group"):
        if not isinstance(video.entry.get(key, ""), str):
            raise UserError(f"{where}: {video.place}: {key} is no text; make the file again")


def _warn_of_shared_videos(videos: list[_Video], split: str, where: str):
    by_split = collections.defaultdict(set)
    for video in videos:
        by_split[video.split].add((video.label, video.name))
    here = by_split[SPLITS[split]]
    for other in SPLITS.keys() - {split}:
        shared = len(here & by_split[SPLITS[other]])
        if shared:
            log.warning(
                "%s: %d of the %d videos of %s are in %s too",
                where, shared, len(here), split, other,
            )  # fmt: skip


# ---- where the frames lie


def _find_root(file: Path, paths: list[str], where: str) -> tuple[Path, int]:
    """The folder of images, and how many leading parts of the paths are not below it."""
    first = _to_posix(paths[0])
    if first.is_absolute() and Path(first).is_file():
        return Path(first.anchor), 1
    folder = file.absolute().parent
    for above in (folder, *folder.parents):
        for images in _FOLDERS_OF_IMAGES:
            for path in paths[:_MAX_VIDEOS_TRIED]:
                parts = _to_posix(path).parts
                for dropped in range(max(1, len(parts) - 2)):
                    relative = PurePosixPath(*parts[dropped:])
                    if not relative.is_absolute() and (above / images / relative).is_file():
                        return above / images, dropped
    raise UserError(
        f"{where}: its frames are not found (such as {paths[0]}); put the file into the folder "
        "that their paths start from, or above it"
    )


def _to_posix(path: str) -> PurePosixPath:
    return PurePosixPath(path.replace("\\", "/"))


def _number_frames(frames: list[str]) -> list[tuple[int, PurePosixPath]]:
    numbered = []
    for position, text in enumerate(frames):
        path = _to_posix(text)
        number = re.search(r"(\d+)$", path.stem)
        numbered.append((int(number[1]) if number else position, path))
    return sorted(numbered)


# ---- what the names of videos tell


def _find_partners(videos: list[_Video]) -> dict[str, str]:
    """The other original of each FaceForensics++ pair that a fake in the file is named after."""
    partners = {}
    for video in videos:
        if pair := re.fullmatch(r"(\d{3})_(\d{3})", video.name):
            partners |= {pair[1]: pair[2], pair[2]: pair[1]}
    return partners


def _parse_video_name(
    dataset: str, method: str, name: str, partners: Mapping[str, str]
) -> tuple[str, str, str]:
    """Video, source and group."""
    video = f"{method}/{name}"
    if dataset == "FaceForensics++" and (pair := re.fullmatch(r"(\d{3})(?:_(\d{3}))?", name)):
        target, other = pair[1], pair[2] or partners.get(pair[1])
        return video, f"real/{target}", "-".join(sorted((target, other))) if other else ""
    if dataset.startswith("Celeb-DF"):
        if swap := re.fullmatch(r"(id\d+)_id\d+_(\d+)", name):
            return video, f"Celeb-real/{swap[1]}_{swap[2]}", swap[1]
        if real := re.fullmatch(r"(id\d+)_\d+", name):
            return f"Celeb-real/{name}", f"Celeb-real/{name}", real[1]
        return f"YouTube-real/{name}", f"YouTube-real/{name}", ""
    return video, video, ""
