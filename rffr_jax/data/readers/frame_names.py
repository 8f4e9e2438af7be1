"""The numbers of a video's frames, from the names of the pictures in its folder."""

import re
from collections.abc import Iterable


def number_frames(names: Iterable[str]) -> dict[int, str]:
    """The names of one folder's pictures by rising frame number.

    The number is the one that ends a name (`frame_0012.png` is 12). Where a name ends in none, or
    two in the same, they are numbered from 0 in natural order (`f9` before `f10`).
    """
    ordered = sorted(names, key=natural_order)
    ends = [re.search(r"([0-9]+)(\.\w+)?$", name) for name in ordered]
    numbers = [int(end[1]) for end in ends if end]
    if len(set(numbers)) < len(ordered):
        numbers = range(len(ordered))
    return dict(sorted(zip(numbers, ordered, strict=True)))


def natural_order(name: str) -> tuple[str | int, ...]:
    """A key that sorts names as people do: numbers in them by value."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts))
