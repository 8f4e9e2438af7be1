"""Several processes that share the files of one prediction, and its workdir."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from rffr_jax.errors import UserError
from rffr_jax.predict.inputs import InputFile


@dataclasses.dataclass(frozen=True)
class Part:
    """One process of several.

    Attributes:
      number: which it is, from 1 to `of`.
      of: how many there are.
    """

    number: int = 1
    of: int = 1

    def files(self, files: Sequence[InputFile]) -> Sequence[InputFile]:
        """Those that are this process's to look at: every `of`-th one."""
        return files[self.number - 1 :: self.of]

    def folder(self, workdir: pathlib.Path) -> pathlib.Path:
        """Where it keeps what it has finished, and is locked; the workdir for one that is alone."""
        return workdir / "parts" / f"{self.number}-of-{self.of}" if self.of > 1 else workdir

    def all_parts(self) -> list["Part"]:
        """All parts, in order."""
        return [Part(number, self.of) for number in range(1, self.of + 1)]


ALONE = Part()


def parse_part(text: str) -> Part:
    """The part that `K/N` names; '' is the only one of one.

    Raises:
      UserError: it names none.
    """
    if not text:
        return ALONE
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    part = Part(*map(int, found.groups())) if found else None
    if part is None or not 1 <= part.number <= part.of:
        raise UserError(f"part={text!r} is none; write K/N, with K from 1 to N, such as 2/4")
    return part
