"""Splits that share no person, for data that come without splits.

The people of one medium stay together, and so do a fake and its original, the members of a `group`
and the frames of a video, directly or through others: they are one circle. Circles are dealt out
from the largest to the smallest, equal ones in the order of the SHA-256 of a name: each to the part
that lacks the most people. So the result depends on nothing but the media.
"""

import collections
import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence

from rffr_jax.data.connected_components import connected_components
from rffr_jax.errors import UserError
from rffr_jax.faces.media import SPLITS, Benchmark, Medium, hash_to_fraction

log = logging.getLogger(__name__)

FOLDER = "folder"
PERSON = "person"


def parse_fractions(text: str) -> dict[str, float]:
    """The share of each of `SPLITS` from `0.8,0.1,0.1`.

    Raises:
      UserError: not three numbers from 0 up with the sum 1.
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != len(SPLITS) or min(shares) < 0 or not abs(sum(shares) - 1) < 1e-6:
        raise UserError(
            f"--split {text!r}: give the shares of {', '.join(SPLITS)}, with the sum 1, "
            "like 0.8,0.1,0.1"
        )
    return dict(zip(SPLITS, shares, strict=True))


def split_by_person(
    benchmark: Benchmark, name: str, fractions: Mapping[str, float], pattern: str | None = None
) -> Benchmark:
    """The same media in parts that share no person.

    Args:
      name: of the benchmark; in `folder` the first folder below real/ or fake/METHOD/ (or the
        first one, where there are none of these) is a person.
      fractions: of the people, for each of `SPLITS`.
      pattern: a regular expression that is searched for in ids; its groups are people.

    Raises:
      UserError: the media are split already, a medium names nobody, or too many people belong
        together.
    """
    split = next((m for m in benchmark.media if m.split != SPLITS[0]), None)
    if split:
        raise UserError(
            f"--split-by person: the data have splits of their own ({split.id} is in "
            f"{split.split}); leave it out, or take the splits out of the data"
        )
    people = _find_people(benchmark.media, name, pattern)
    joined = [_who_stays_together(medium, people[medium.id]) for medium in benchmark.media]
    circles = [
        sorted(name for kind, name in circle if kind == PERSON)
        for circle in connected_components(joined)
    ]
    parts = _deal_out(circles, fractions)
    media = tuple(
        dataclasses.replace(m, person=";".join(people[m.id]), split=parts[people[m.id][0]])
        for m in benchmark.media
    )
    return dataclasses.replace(benchmark, media=media)


def _find_people(
    media: Sequence[Medium], name: str, pattern: str | None
) -> dict[str, tuple[str, ...]]:
    try:
        compiled = re.compile(pattern) if pattern is not None else None
    except re.error as error:
        raise UserError(f"--person-pattern {pattern!r}: {error}; correct it") from None
    if compiled and not compiled.groups:
        raise UserError(
            f"--person-pattern {pattern!r}: it has no group; put the person into parentheses"
        )
    people = {}
    for medium in media:
        if compiled:
            match = compiled.search(medium.id)
            found = [person for person in (match.groups() if match else ()) if person]
        elif name == FOLDER:
            found = _folder_of_person(medium)
        else:
            found = [person.strip() for person in medium.person.split(";") if person.strip()]
        people[medium.id] = tuple(dict.fromkeys(found))
    nobody = [id_ for id_, found in people.items() if not found]
    if nobody:
        hint = "correct --person-pattern" if compiled else "give --person-pattern"
        if name == FOLDER and not compiled:
            hint += ", or put each person's files into a folder"
        elif not compiled:
            hint += ", or fill the column `person`"
        raise UserError(
            f"--split-by person: {len(nobody)} of {len(media)} media name no person, "
            f"{nobody[0]} the first; {hint}"
        )
    return people


def _folder_of_person(medium: Medium) -> list[str]:
    folders = medium.id.split("/")[:-1]
    top = folders[0].lower() if folders else ""
    level = {"real": 1, "fake": 2}.get(top, 0)
    return folders[level : level + 1]


def _who_stays_together(medium: Medium, people: Sequence[str]) -> list[tuple[str, str]]:
    ties = [(PERSON, person) for person in people] + [("source", medium.source)]
    if medium.group:
        ties.append(("group", medium.group))
    if medium.video:
        ties.append(("video", medium.video))
    return ties


def _deal_out(circles: list[list[str]], fractions: Mapping[str, float]) -> dict[str, str]:
    """The split of each person."""
    total = sum(map(len, circles))
    parts: dict[str, str] = {}
    counts: collections.Counter[str] = collections.Counter()
    for circle in sorted(circles, key=lambda c: (-len(c), hash_to_fraction(c[0]))):
        part = max(
            (split for split in SPLITS if fractions[split]),
            key=lambda split: fractions[split] * total - counts[split],
        )
        counts[part] += len(circle)
        parts |= dict.fromkeys(circle, part)
    empty = [split for split in SPLITS if fractions[split] and not counts[split]]
    if empty:
        raise UserError(
            f"--split-by person: nobody is left for {' and '.join(empty)}: the {total} people are "
            f"{len(circles)} circles of those who share media, the largest of "
            f"{max(map(len, circles))}; give other shares, or add people"
        )
    told = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    log.info("split by person: %d people in %d circles: %s", total, len(circles), told)
    return parts
