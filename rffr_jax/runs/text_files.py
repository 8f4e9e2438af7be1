"""Text, JSON and CSV files that a person gives: their content, or a UserError of one line.

A byte-order mark (BOM), blank lines and Windows line endings do no harm.
"""

import collections
import contextlib
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rffr_jax.errors import UserError


def read_text(file: Path) -> str:
    """The text of a file, without a BOM.

    Raises:
      UserError: the file cannot be read, or is not UTF-8.
    """
    with _told(file):
        return file.read_text(encoding="utf-8-sig")


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    """Errors of reading text become a UserError."""
    try:
        yield
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise UserError(f"{file}: {problem}; name a file that can be read") from None


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, stripped, each after its place `FILE:NUMBER`.

    Raises:
      UserError: as `read_text`.
    """
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            yield f"{file}:{number}", line.strip()


def read_table(
    file: Path, required: Sequence[str], optional: Sequence[str], where: str = ""
) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of a CSV file with a header, each after its place `WHERE: line NUMBER`.

    Cells are stripped; blank lines are passed over.

    Args:
      required: columns that the header must have.
      optional: those that it may have, and no others.
      where: how messages name the file; its path if empty.

    Raises:
      UserError: as `read_text`; another header, or a line of another length.
    """
    where = where or str(file)
    with _told(file), file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            check_columns(f"{where}: header", header, required, optional)
            for cells in reader:
                place = f"{where}: line {reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise UserError(
                        f"{place}: {len(cells)} cells under a header of {len(header)}; "
                        "put cells that hold commas in double quotes"
                    )
                yield place, dict(zip(header, map(str.strip, cells), strict=True))
        except csv.Error as error:
            raise UserError(f"{where}: line {reader.line_num}: {error}; correct it") from None


def check_columns(
    place: str, names: Iterable[str], required: Sequence[str], optional: Sequence[str]
):
    """Raises: UserError where a required column is missing, one is unknown or there twice."""
    counts = collections.Counter(list(names))
    known = f"{','.join(required)}[,{','.join(optional)}]"
    for name in required:
        if name not in counts:
            raise UserError(f"{place}: no '{name}'; the names are {known}")
    for name, count in counts.items():
        if name not in required and name not in optional:
            raise UserError(f"{place}: unknown '{name}'; the names are {known}")
        if count > 1:
            raise UserError(f"{place}: '{name}' stands there {count} times; leave one")


def read_json(file: Path) -> Any:
    """The value in a JSON file.

    Raises:
      UserError: as `read_text`; the file is not JSON (the line is named), or an object has a key
        twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = {}
        for key, value in pairs:
            if key in result:
                raise UserError(f"{file}: {key!r} is there twice; keep one of the two")
            result[key] = value
        return result

    try:
        return json.loads(read_text(file), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        problem = f"{error.msg}, column {error.colno}"
        raise UserError(f"{file}:{error.lineno}: not JSON ({problem}); correct it") from None
    except RecursionError:
        raise UserError(f"{file}: nested too deep; correct it") from None
