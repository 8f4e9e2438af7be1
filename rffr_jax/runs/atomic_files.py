"""Files that are written whole or not at all, and why one could not be written."""

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rffr_jax.errors import UserError

DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EIO,
)
UNFINISHED = ".part"


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A path to write to that becomes `path` when the block ends well and vanishes otherwise.

    Several processes, of several machines too, may write the same file: the last one stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}{UNFINISHED}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to write into that becomes `folder` when the block ends well.

    Args:
      folder: must not exist, or be empty.

    Raises:
      UserError: the folder holds something, or cannot be written.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; name a new one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            unfinished = Path(temporary, folder.name)
            unfinished.mkdir()
            yield unfinished
            unfinished.replace(folder)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} cannot be written ({reason}); name another folder") from error


def remove_unfinished_files(folder: Path):
    """Deletes what `atomic_write` left in a folder of this process when it was killed.

    Subfolders that have a lock of their own belong to other runs and stay as they are.
    """
    for place, subfolders, names in os.walk(folder):
        here = Path(place)
        subfolders[:] = [name for name in subfolders if not (here / name / ".lock").exists()]
        for name in names:
            if re.fullmatch(rf"\..+\.[0-9a-f]{{32}}\{UNFINISHED}", name):
                (here / name).unlink(missing_ok=True)


def write_text(path: str | Path, text: str, errors: str = "backslashreplace"):
    """Writes UTF-8.

    Args:
      errors: of `str.encode`. A file name that is no UTF-8 holds lone surrogates; JSON has them as
        \\udcXX, the default's form.
    """
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", errors=errors)


def write_json(path: str | Path, value: object):
    """Writes indented JSON; a number that is not finite is an error."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


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


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_disk_error(error: BaseException | None) -> str | None:
    """Why a file could not be written; None if the error has another cause.

    The causes are a full disk, a quota, a limit, a missing permission or something in the way.
    TensorStore, which writes the arrays of checkpoints, puts the error number into its text.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            name = f" ({error.filename})" if error.filename else ""
            return f"{os.strerror(error.errno)}{name}"
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code and int(code[1]) in DISK_ERRORS:
            return os.strerror(int(code[1]))
        error = error.__cause__ or error.__context__
    return None
