"""Files that are written whole or not at all."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rffr_jax.errors import UserError


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path to write to that becomes `path` when the block ends well and vanishes otherwise.

    Several processes, of several machines too, may write the same file: the last one stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | Path, value: object):
    """Writes indented JSON; a number that is not finite is an error."""
    with whole_file(path) as part:
        text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
        # A file name that is no UTF-8 holds lone surrogates, which JSON writes as \udcXX.
        part.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def read_json_object(path: str | Path) -> dict[str, Any]:
    """The object in a file that `write_json` wrote.

    Raises:
      UserError: the file is damaged.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is damaged ({reason}); put a copy back") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (no object is in it); put a copy back")
    return value
