"""A test set that a paper chose for itself: a file that names its videos."""

import collections
import dataclasses
import pathlib

from rffr_jax.errors import UserError
from rffr_jax.faces.media import Benchmark
from rffr_jax.runs.text_files import read_lines

TEST = "test"


def keep_listed_videos(benchmark: Benchmark, file: pathlib.Path) -> Benchmark:
    """A benchmark whose test part is the videos that a file names; other parts stay whole.

    Test videos that the benchmark's lists name and its folders lack are missing only if the file
    names them.

    Args:
      file: one video a line: its id, its file name, or that without the ending. A name that
        several videos have, there or not, is refused.

    Raises:
      UserError: a line that names no test video, or several, or one that is there already; an empty
        or unreadable file.
    """
    named: dict[str, set[str]] = collections.defaultdict(set)
    for medium in benchmark.media:
        if medium.split == TEST:
            for name in (medium.id, medium.path.name, medium.path.stem):
                named[name].add(medium.id)
    absent: dict[str, set[str]] = collections.defaultdict(set)  # the endings are not known
    for id_, split in benchmark.absent.items():
        if split == TEST:
            for name in (id_, pathlib.PurePath(id_).name):
                absent[name].add(id_)
    listed: dict[str, str] = {}
    for place, name in read_lines(file):
        stem = name if "/" in name else pathlib.PurePath(name).stem
        found = [*named.get(name, ()), *(absent.get(name) or absent.get(stem, ()))]
        if len(found) != 1:
            problem = (
                f"names {len(found)} test videos; write its id"
                if found
                else "is no test video; name one of those that --dry-run counts"
            )
            raise UserError(f"{place}: '{name}' {problem}")
        if found[0] in listed:
            raise UserError(f"{place}: '{name}' is in {listed[found[0]]} already; name it once")
        listed[found[0]] = place
    if not listed:
        raise UserError(f"{file} names no video; write one a line")
    media = tuple(m for m in benchmark.media if m.split != TEST or m.id in listed)
    unasked = {i for i, split in benchmark.absent.items() if split == TEST and i not in listed}
    return dataclasses.replace(
        benchmark,
        media=media,
        missing=tuple(m for m in benchmark.missing if m.partition(": ")[0] not in unasked),
        absent={i: split for i, split in benchmark.absent.items() if i not in unasked},
    )
