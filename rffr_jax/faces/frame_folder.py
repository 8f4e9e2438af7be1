"""A folder of pictures as a video: its frames in natural order, under their own numbers."""

import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from rffr_jax.errors import BadImageError
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS

GAP = 1.5  # times the usual distance of two numbers


def list_frames(folder: str | os.PathLike[str]) -> dict[int, pathlib.Path]:
    """The pictures that lie directly in a folder, by rising frame number.

    The number is the one that ends a picture's name (`frame_0012.png` is 12). Where a name ends in
    none, or two names in the same, they are numbered from 0 in natural order (`f9` before `f10`).
    Hidden files and files without an image's ending are passed over.

    Raises:
      BadImageError: the folder cannot be read or holds no picture.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadImageError(os.fspath(folder), reason) from None
    pictures = sorted(
        (n for n in names if n.lower().endswith(IMAGE_EXTENSIONS) and not n.startswith(".")),
        key=natural_order,
    )
    if not pictures:
        raise BadImageError(os.fspath(folder), "there is no picture in the folder")
    ends = [re.search(r"([0-9]+)\.\w+$", name) for name in pictures]
    numbers = [int(end[1]) for end in ends if end]
    if len(set(numbers)) < len(pictures):
        numbers = list(range(len(pictures)))
    places = {number: pathlib.Path(folder, n) for number, n in zip(numbers, pictures, strict=True)}
    return dict(sorted(places.items()))


def natural_order(name: str) -> tuple[str | int, ...]:
    """A key that sorts names as people do: numbers in them by value."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts))


def describe_gaps(numbers: Sequence[int]) -> str:
    """Where numbers are missing among rising ones that are otherwise evenly spaced; "" if none."""
    steps = np.diff(numbers)
    if not len(steps):
        return ""
    gaps = np.flatnonzero(steps > GAP * np.median(steps))
    if not len(gaps):
        return ""
    first = gaps[0]
    more = f" and {len(gaps) - 1} more" if len(gaps) > 1 else ""
    return f"no frames between {numbers[first]} and {numbers[first + 1]}{more}"


def folder_stamp(folder: str | os.PathLike[str]) -> str:
    """Number, sizes and last change of the pictures of a folder; "" where there are none."""
    try:
        states = [os.stat(path) for path in list_frames(folder).values()]
    except (BadImageError, OSError):
        return ""
    size, changed = sum(s.st_size for s in states), max(s.st_mtime_ns for s in states)
    return f"{len(states)} pictures of {size} bytes at {changed}"
