"""A folder of pictures as a video: its frames in natural order, under their own numbers.

A stamp of a folder or a file tells whether it has changed.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from rffr_jax.data.readers.frame_names import number_frames
from rffr_jax.errors import BadImageError
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS

GAP = 1.5  # times the usual distance of two numbers


def list_frames(folder: str | os.PathLike[str]) -> dict[int, pathlib.Path]:
    """The pictures that lie directly in a folder, by rising frame number.

    The numbers are those of `number_frames`. Hidden files and those without an image's ending are
    passed over.

    Raises:
      BadImageError: the folder cannot be read or holds no picture.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadImageError(os.fspath(folder), reason) from None
    pictures = [n for n in names if n.lower().endswith(IMAGE_EXTENSIONS) and n[0] != "."]
    if not pictures:
        raise BadImageError(os.fspath(folder), "there is no picture in the folder")
    return {number: pathlib.Path(folder, n) for number, n in number_frames(pictures).items()}


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


def file_stamp(path: pathlib.Path) -> str:
    """Size and time of a file's last change, or of a folder's pictures; '' if it is not there."""
    if path.is_dir():
        return folder_stamp(path)
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} bytes at {status.st_mtime_ns}"
