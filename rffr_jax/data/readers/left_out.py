"""Files of a folder that are not read: counted by ending, the first of each ending named."""

import collections
import dataclasses
import re
from pathlib import PurePath

LISTED = 8
LONGEST = 80


@dataclasses.dataclass
class SkippedFiles:
    """What a walk through folders passed over; hidden files are never counted.

    Attributes:
      counts: files by ending, in small letters with its dot; "" where a name has none.
      first: of each ending the path that sorts first.
    """

    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    first: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, path: PurePath):
        """Counts a file."""
        # An ending of other letters is a part of the name, as in `notes of 3. May`.
        found = re.search(r"\.[a-z0-9_+-]{1,10}$", path.name.lower())
        ending = found[0] if found else ""
        self.counts[ending] += 1
        name = path.as_posix()
        self.first[ending] = min(name, self.first.get(ending, name))

    def __str__(self) -> str:
        """`left out 15 files: 12 .txt (first: a/b.txt), 3 .gif (first: c.gif)`; "" if none."""
        if not self.counts:
            return ""
        total = self.counts.total()
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        parts = [
            f"{count} {ending or 'without an ending'} (first: {_shorten(self.first[ending])})"
            for ending, count in ordered[:LISTED]
        ]
        if ordered[LISTED:]:
            rest = sum(count for _, count in ordered[LISTED:])
            parts.append(f"{rest} of {len(ordered) - LISTED} other endings")
        return f"left out {total} file{'s' * (total > 1)}: {', '.join(parts)}"


def _shorten(name: str) -> str:
    name = name if name.isprintable() else ascii(name)
    return name if len(name) <= LONGEST else f"...{name[-LONGEST:]}"
