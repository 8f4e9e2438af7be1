"""Folder names that say that the files below them are not real.

A name counts as a whole and in any case of letters; spaces, `_`, `-` and `.` in it do not count.
"""

import collections
import re
from collections.abc import Collection, Iterable
from pathlib import PurePath

from rffr_jax.errors import UserError

_WORDS = (
    *("fake", "fakes", "synthetic", "synthesis", "synthesized", "synthesised", "generated"),
    *("manipulated", "manipulation", "manipulations", "forged", "forgery", "forgeries"),
    *("deepfake", "deepfakes", "swap", "swaps", "swapped", "faceswap", "faceswaps", "target"),
)
_BENCHMARKS = (
    # FaceForensics++
    *("manipulatedsequences", "deepfakes", "face2face", "faceswap", "neuraltextures"),
    *("faceshifter", "deepfakedetection"),
    # Celeb-DF and Celeb-DF++
    *("celebsynthesis", "facereenact", "facereenactment", "talkingface"),
    # DFDC, whose parts hold both, and its preview
    *(r"dfdctrainpart\d+", "method[ab]"),
    # DeeperForensics, WildDeepfake, FakeAVCeleb
    *("manipulatedvideos", "endtoend.*", "reenactpostprocess"),
    *("fake(train|val|validation|test)", "fakevideo(real|fake)audio"),
)
_FAKE = re.compile("|".join((*_WORDS, *_BENCHMARKS)))


def is_fake_name(name: str) -> bool:
    """Whether a folder's name says that what it holds is manipulated."""
    return _FAKE.fullmatch(re.sub(r"[ _.-]", "", name.lower())) is not None


def find_fake_folders(paths: Iterable[PurePath]) -> dict[str, int]:
    """The uppermost folders whose names say fake, with the number of files below each.

    Args:
      paths: files, relative to the folder whose own name does not count.
    """
    counts: collections.Counter[str] = collections.Counter()
    for path in paths:
        folders = path.parts[:-1]
        depth = next((n for n, name in enumerate(folders, 1) if is_fake_name(name)), None)
        if depth:
            counts[PurePath(*folders[:depth]).as_posix()] += 1
    return dict(counts)


def refuse_fake_folders(where: str, paths: Collection[PurePath], override: str):
    """Refuses to take all files as real where the name of a folder says otherwise.

    Args:
      where: what the folder is called in the message.
      paths: as for `find_fake_folders`.
      override: what to write in order to take them as real all the same.

    Raises:
      UserError: there is such a folder.
    """
    found = find_fake_folders(paths)
    if not found:
        return
    name, count = max(found.items(), key=lambda item: item[1])
    more = len(found) - 1
    others = f", and {more} more such folder{'s' * (more > 1)}" if more else ""
    raise UserError(
        f"{where}: without real/ and fake/ all {len(paths)} files would be taken as REAL, but "
        f"{name}/ holds {count} of them and its name says otherwise{others}; sort the files "
        f"into real/ and fake/METHOD/, or {override} if they are real"
    )
