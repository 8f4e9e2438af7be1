"""DF40: aligned crops of forty methods, in the folders that its archives unpack to.

    DF40_train/METHOD/...                    made from FaceForensics++'s originals
    DF40/METHOD/ff/...                       the same
    DF40/METHOD/cdf/...                      made from Celeb-DF's reals
    DF40/METHOD/{real,fake}/...              methods that bring reals of their own
    FaceForensics++/original_sequences/youtube/c23/frames/NAME/0.png    the reals of `ff`
    FaceForensics++/{train,val,test}.json                               its split lists
    Celeb-DF-v2/{Celeb-real,YouTube-real}/frames/NAME/0.png             the reals of `cdf`
    Celeb-DF-v2/List_of_testing_videos.txt

Below METHOD a folder in `frames` is a video; any other picture stands for itself. The data sets
are `DF40-ff`, `DF40-cdf` and `DF40-METHOD` (of methods with their own reals), so that fakes are
measured against the reals that they were made from.

What comes from an original of FaceForensics++ has the split of this original, whatever its folder;
the name that begins with its number (`001_870`, `001`) tells it, that of a picture's folder before
its own, and what has none is left out.
`cdf`, of whose reals only those of the test list are taken, and methods with their own reals are
test.
"""

import collections
import os
import pathlib
import re
from collections.abc import Iterator

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks import celeb_df, faceforensics
from rffr_jax.faces.benchmarks.catalogue import Catalogue
from rffr_jax.faces.media import Benchmark, Medium
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS

TRAIN, TEST = "DF40_train", "DF40"
FF, CDF = "FaceForensics++", "Celeb-DF-v2"
FRAMES = "frames"
FF_REALS = f"{FF}/original_sequences/youtube/c23/{FRAMES}"
LABELS = {"real": 0, "fake": 1}

Originals = dict[str, tuple[str, str]]  # the split and the group of each of FaceForensics++


def find(folder: pathlib.Path) -> Benchmark:
    """The videos and pictures that are there; ids are their paths.

    Raises:
      UserError: another layout, or the lists of FaceForensics++ or Celeb-DF are missing or wrong.
    """
    if not any((folder / top).is_dir() for top in (TRAIN, TEST)):
        raise UserError(
            f"--input {folder}: not DF40, which has {TRAIN} and {TEST}; name the folder that holds "
            f"these, and {FF} and {CDF} with the reals"
        )
    catalogue = Catalogue(folder)
    methods = [
        method
        for top in (TRAIN, TEST)
        for method in catalogue.entries(folder / top)
        if os.path.isdir(method)
    ]
    originals: Originals = {}
    if (folder / TRAIN).is_dir() or any((method / "ff").is_dir() for method in methods):
        originals = _read_originals(folder / FF)
    lost: collections.Counter[str] = collections.Counter()
    for (path,) in catalogue.frame_folders(folder / FF_REALS).values():
        _add_ff(catalogue, path, "real", originals, lost)
    _add_celeb_reals(catalogue, folder / CDF)
    for method in methods:
        for part in catalogue.entries(method):
            for path in _media(catalogue, part):
                if part.name == "cdf":
                    _add_cdf(catalogue, path, method.name)
                elif part.name in LABELS:
                    kind = method.name if LABELS[part.name] else "real"
                    _take(catalogue, path, "test", f"DF40-{method.name}", kind)
                else:
                    _add_ff(catalogue, path, method.name, originals, lost)
    for place, count in sorted(lost.items()):
        catalogue.miss(f"{place}: {count} media whose original is in none of the lists, left out")
    return catalogue.benchmark()


def _read_originals(folder: pathlib.Path) -> Originals:
    lists = faceforensics.LISTS.values()
    if not all((folder / name).is_file() for name in lists):
        raise UserError(
            f"{folder}: no {', '.join(lists)}, which say what is for testing; get them from the "
            "FaceForensics repository, dataset/splits"
        )
    return {
        video: (split, "-".join(sorted(pair)))
        for split, pairs in faceforensics.read_splits(folder, folder).items()
        for pair in pairs
        for video in pair
    }


def _media(catalogue: Catalogue, path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folders of frames, and the pictures that are in none."""
    if not os.path.isdir(path):
        if path.suffix.lower() in IMAGE_EXTENSIONS:
            yield path
        else:
            catalogue.pass_over(path)
    elif path.name == FRAMES:
        for (video,) in catalogue.frame_folders(path).values():
            yield video
    else:
        for inner in catalogue.entries(path):
            yield from _media(catalogue, inner)


def _add_ff(
    catalogue: Catalogue,
    path: pathlib.Path,
    method: str,
    originals: Originals,
    lost: collections.Counter[str],
) -> None:
    """Counts it in `lost`, by its folder, where no list has its original."""
    number = _match(r"(\d{3})(?:_.*)?", path)
    if number is None or number[1] not in originals:
        lost[catalogue.name(path.parent)] += 1
        return
    split, group = originals[number[1]]
    _take(catalogue, path, split, "DF40-ff", method, f"{FF_REALS}/{number[1]}", group)


def _add_cdf(catalogue: Catalogue, path: pathlib.Path, method: str) -> None:
    source = person = ""
    if name := _match(r"(id\d+)(?:_id\d+)?_(\d+)", path):
        source, person = f"{CDF}/{celeb_df.CELEBRITIES}/{name[1]}_{name[2]}", name[1]
    elif celeb_df.YOUTUBE.lower() in catalogue.name(path).lower():
        name = _match(r"\d{5}", path)
        source = f"{CDF}/{celeb_df.YOUTUBE}/{name[0]}" if name else ""
    _take(catalogue, path, "test", "DF40-cdf", method, source, person)


def _match(pattern: str, path: pathlib.Path) -> re.Match[str] | None:
    """The pattern in the name of the folder of a medium, or else in its own."""
    return re.fullmatch(pattern, path.parent.name) or re.fullmatch(pattern, path.stem)


def _add_celeb_reals(catalogue: Catalogue, folder: pathlib.Path) -> None:
    if not folder.is_dir():
        return
    listed, _ = celeb_df.read_test_list(Catalogue(folder))
    for place in (celeb_df.CELEBRITIES, celeb_df.YOUTUBE):
        for name, (path,) in catalogue.frame_folders(folder / place / FRAMES).items():
            if f"{place}/{name}" in listed:
                person = name.partition("_")[0] if place == celeb_df.CELEBRITIES else ""
                id_ = f"{CDF}/{place}/{name}"
                _take(catalogue, path, "test", "DF40-cdf", "real", id_, person, id_)


def _take(
    catalogue: Catalogue,
    path: pathlib.Path,
    split: str,
    dataset: str,
    method: str,
    source: str = "",
    group: str = "",
    id_: str = "",
) -> None:
    id_ = id_ or catalogue.name(path)
    catalogue.add(
        Medium(
            id=id_,
            path=path,
            split=split,
            label=int(method != "real"),
            dataset=dataset,
            method=method,
            source=source or id_,
            group=group,
        )
    )
