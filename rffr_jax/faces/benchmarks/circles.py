"""People who belong together, and an order of names that is a function of only the names."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def find_circles(together: Iterable[Iterable[Name]]) -> list[set[Name]]:
    """The circles of those who are joined, directly or through others (union-find).

    Args:
      together: sets of those who must stay together.
    """
    above: dict[Name, Name] = {}

    def top(name: Name) -> Name:
        while above.setdefault(name, name) != name:
            above[name] = name = above[above[name]]
        return name

    for members in together:
        tops = [top(name) for name in members]
        above.update((name, tops[0]) for name in tops)
    circles: defaultdict[Name, set[Name]] = defaultdict(set)
    for name in list(above):
        circles[top(name)].add(name)
    return list(circles.values())


def hash_to_fraction(name: str) -> float:
    """A number in [0, 1) that is a function of only the name, and evenly spread."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
