"""FaceForensics++: original and manipulated videos, split by lists of pairs.

    original_sequences/{youtube,actors}/COMPRESSION[/videos]/
    manipulated_sequences/METHOD/{COMPRESSION,masks}[/videos]/

In place of `videos` there may be `images/NAME/0000.png`, as the benchmark's own script extracts the
frames of the video NAME.

A pair (a, b) of a list means the originals a and b and, for every method, the fakes a_b and b_a. A
fake TARGET_SOURCE shows the video of its target with the face (or the expression) of its source:
the medium's `source`, the original it was made from, is the TARGET. All media of a pair depend on
one another and are one group. The pairs are shuffled: numbers say nothing about the splits, so
without the lists nothing is split.

DeepFakeDetection, which is passed on with FaceForensics++, has other people (`actors`) and no
official split. It is a data set of its own here, `DeepFakeDetection`, and all of it is test. Its
fakes TARGET_SOURCE__SCENE__CODE are taken to be made from the original TARGET__SCENE.
"""

import os
import pathlib
import re

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks.catalogue import Catalogue
from rffr_jax.faces.media import Benchmark, Medium
from rffr_jax.runs.text_files import read_json

COMPRESSIONS = ("raw", "c23", "c40")
DEFAULT_COMPRESSION = "c23"  # "HQ"
LISTS = {"train": "train.json", "validation": "val.json", "test": "test.json"}

DATASET = "FaceForensics++"
ACTORS_DATASET = "DeepFakeDetection"

Pairs = dict[str, list[tuple[str, str]]]  # of each split
Videos = dict[str, dict[str, list[pathlib.Path]]]  # of each method, by name


def find(
    folder: pathlib.Path, *, compression: str | None = None, splits: pathlib.Path | None = None
) -> Benchmark:
    """The videos of one compression that are there, of all methods that are there.

    Ids are `real/AAA`, `METHOD/AAA_BBB`; `actors/NAME` and `DeepFakeDetection/NAME`.

    Args:
      folder: holds `original_sequences` and `manipulated_sequences`.
      compression: one of `COMPRESSIONS`, by default `c23`.
      splits: folder of `train.json`, `val.json` and `test.json`; by default they are looked for in
        the folder, its `splits` and `dataset/splits`, and in `splits` beside it.

    Raises:
      UserError: another layout, no videos of that compression, lists that are absent or wrong.
    """
    compression = compression or DEFAULT_COMPRESSION
    if compression not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        raise UserError(f"--compression {compression!r} is not known; give one of {known}")
    originals = folder / "original_sequences"
    manipulated = folder / "manipulated_sequences"
    if not originals.is_dir() and not manipulated.is_dir():
        raise UserError(
            f"--input {folder}: not FaceForensics++, which has original_sequences and "
            "manipulated_sequences; name the folder that holds these two"
        )
    catalogue = Catalogue(folder)
    bases = {path.name: path for path in catalogue.entries(manipulated) if os.path.isdir(path)}
    bases |= {"real": originals / "youtube", "actors": originals / "actors"}
    videos: Videos = {}
    masks: Videos = {}
    for name, base in bases.items():
        masks[name] = _videos(catalogue, base / "masks")
        if (base / compression).is_dir():
            videos[name] = _videos(catalogue, base / compression)
        elif name != "actors":
            catalogue.miss(f"{catalogue.name(base)}: no {compression} videos")
    if not any(videos.values()):
        there = sorted(c for c in COMPRESSIONS if any((b / c).is_dir() for b in bases.values()))
        raise UserError(
            f"--input {folder}: no {compression} videos in original_sequences/youtube/{compression}"
            f"[/videos] or manipulated_sequences/METHOD/{compression}[/videos]; "
            f"give another --compression (there: {', '.join(there) or 'none'})"
        )
    actors = {name: videos.pop(name, {}) for name in ("actors", ACTORS_DATASET)}
    _add_actors(catalogue, actors, masks, compression)
    if videos:
        _add_pairs(catalogue, videos, masks, read_splits(folder, splits), compression)
    return catalogue.benchmark()


def _videos(catalogue: Catalogue, folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Videos, or the folders of frames that the benchmark's own script extracts."""
    if (folder / "videos").is_dir():
        return catalogue.videos(folder / "videos")
    if (folder / "images").is_dir():
        return catalogue.frame_folders(folder / "images")
    return catalogue.videos(folder)


def _add_pairs(
    catalogue: Catalogue, videos: Videos, masks: Videos, pairs: Pairs, compression: str
) -> None:
    taken = set()
    for split, (first, second) in _in_order(pairs):
        for method, found in videos.items():
            for target, other in ((first, second), (second, first)):
                name = target if method == "real" else f"{target}_{other}"
                taken.add((method, name))
                if name not in found:
                    catalogue.absent(f"{method}/{name}", split, f"listed in {LISTS[split]}")
                for path in found.get(name, ()):
                    catalogue.add(
                        Medium(
                            id=f"{method}/{name}",
                            path=path,
                            split=split,
                            label=int(method != "real"),
                            dataset=DATASET,
                            method=method,
                            source=f"real/{target}",
                            group="-".join(sorted((first, second))),
                            compression=compression,
                            mask=masks[method].get(name, [None])[0],
                        )
                    )
    for method, found in videos.items():
        for name, paths in found.items():
            if (method, name) not in taken:
                catalogue.unlisted(paths, ", ".join(LISTS.values()))


def _in_order(pairs: Pairs) -> list[tuple[str, tuple[str, str]]]:
    return [(split, pair) for split in pairs for pair in pairs[split]]


def _add_actors(catalogue: Catalogue, videos: Videos, masks: Videos, compression: str) -> None:
    for label, place, pattern in (
        (0, "actors", r"(\d+)__(.+)"),
        (1, ACTORS_DATASET, r"(\d+)_\d+__(.+)__\w+"),
    ):
        for name, paths in videos[place].items():
            parts = re.fullmatch(pattern, name)
            person = f"actor {parts[1]}" if parts else ""
            for path in paths:
                catalogue.add(
                    Medium(
                        id=f"{place}/{name}",
                        path=path,
                        split="test",
                        label=label,
                        dataset=ACTORS_DATASET,
                        method=ACTORS_DATASET if label else "real",
                        source=f"actors/{parts[1]}__{parts[2]}" if parts else f"{place}/{name}",
                        group=person,
                        person=person,
                        compression=compression,
                        mask=masks.get(place, {}).get(name, [None])[0],
                    )
                )


def read_splits(folder: pathlib.Path, splits: pathlib.Path | None) -> Pairs:
    """The pairs of videos of each split; the arguments are those of `find`.

    Raises:
      UserError: the lists are absent, no such lists, or hold a video twice.
    """
    if splits is not None:
        for name in LISTS.values():
            if not (splits / name).is_file():
                raise UserError(f"--splits {splits}: no {name} in it; {_WHERE_LISTS_ARE}")
    else:
        inside = (folder, folder / "splits", folder / "dataset" / "splits")
        places = (*inside, folder.parent / "splits")
        complete = (p for p in places if all((p / name).is_file() for name in LISTS.values()))
        splits = next(complete, None)
    if splits is None:
        raise UserError(
            f"--input {folder}: no {', '.join(LISTS.values())} in it, in its splits or "
            f"dataset/splits, or in splits beside it; {_WHERE_LISTS_ARE}"
        )
    pairs = {split: _read_pairs(splits / name) for split, name in LISTS.items()}
    seen: dict[str, str] = {}
    for split, pair in _in_order(pairs):
        for video in pair:
            if video in seen:
                raise UserError(
                    f"{splits}: video {video!r} is in {seen[video]} and again in {LISTS[split]}; "
                    "each belongs to one pair of one list, correct them"
                )
            seen[video] = LISTS[split]
    return pairs


_WHERE_LISTS_ARE = (
    "get them from the FaceForensics repository, dataset/splits, and name their folder: "
    "--splits DIR"
)


def _read_pairs(file: pathlib.Path) -> list[tuple[str, str]]:
    content = read_json(file)
    if not isinstance(content, list) or not content:
        raise UserError(f'{file}: not a list of pairs like [["071", "054"], ...]; correct it')
    for number, pair in enumerate(content, start=1):
        good = isinstance(pair, list) and len(pair) == 2
        if not good or not all(isinstance(name, str) and name for name in pair):
            raise UserError(
                f'{file}: entry {number} is not a pair of video names like ["071", "054"]; '
                "correct it"
            )
    return [(first, second) for first, second in content]
