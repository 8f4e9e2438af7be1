"""Text and JSON files that a person gives: their content, or a UserError of one line.

A byte-order mark (BOM), blank lines and Windows line endings do no harm.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rffr_jax.errors import UserError


def read_text(file: Path) -> str:
    """The text of a file, without a BOM.

    Raises:
      UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
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
