"""Names that belong together: the connected components of a graph."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def connected_components(together: Iterable[Iterable[Name]]) -> list[set[Name]]:
    """The sets of names that are joined, directly or through others (union-find).

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
    components: defaultdict[Name, set[Name]] = defaultdict(set)
    for name in list(above):
        components[top(name)].add(name)
    return list(components.values())
