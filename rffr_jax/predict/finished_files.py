"""Records of finished files, a line each in finished.jsonl, so that a killed run can resume.

The first line holds the settings. Records that other settings made are dropped. A record counts as
long as its file has the same size and time stamp. Every line carries a checksum; from a damaged
line on, all files are scored again.
"""

import json
import os
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rffr_jax.faces.frame_folder import file_stamp

NAME = "finished.jsonl"
_CHECKSUM_BYTES = 9  # before a line's JSON: its CRC-32 in hexadecimal digits, and a space


class FinishedFiles:
    """Records by path; they stay on disk, and only their places are in memory."""

    def __init__(
        self, folder: pathlib.Path, settings: Mapping[str, Any], *, read_only: bool = False
    ):
        """
        Args:
          folder: where finished.jsonl is, or is made.
          settings: all that a record depends on besides its file; becomes JSON.
          read_only: another process writes the file; its complete lines are read.
        """
        self._file = folder / NAME
        self._places: dict[str, tuple[str, int]] = {}  # stamp of the file, offset of the line
        header = json.dumps({"settings": settings}, sort_keys=True)
        if not self._read(header.encode(), read_only) and not read_only:
            self._file.write_text(header + "\n", encoding="utf-8")

    def __contains__(self, path: pathlib.Path) -> bool:
        place = self._places.get(_key(path))
        return place is not None and place[0] == file_stamp(path)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, path: pathlib.Path, record: dict[str, Any], stamp: str):
        """Appends a record; it is on disk when this returns.

        Args:
          stamp: of the file before it was read; a file that was still written then is read again.
        """
        key = _key(path)
        text = json.dumps({"path": key, "stamp": stamp, "record": record}, allow_nan=False).encode()
        with self._file.open("ab") as file:
            self._places[key] = (stamp, file.tell())
            file.write(b"%08x %s\n" % (zlib.crc32(text), text))

    def records(self, paths: Sequence[pathlib.Path]) -> Iterator[dict[str, Any]]:
        """The records of finished files, in the order of `paths`."""
        with self._file.open("rb") as file:
            for path in paths:
                file.seek(self._places[_key(path)][1])
                yield json.loads(file.readline()[_CHECKSUM_BYTES:])["record"]

    def _read(self, header: bytes, read_only: bool) -> bool:
        """Reads the lines up to the first broken one; cuts the rest off a file of this process.

        Returns:
          Whether there is a file of the same settings.
        """
        if not self._file.is_file():
            return False
        with self._file.open("rb" if read_only else "r+b") as file:
            if file.readline() != header + b"\n":
                return False
            offset = file.tell()
            for line in file:
                text = line[_CHECKSUM_BYTES:-1]
                if line != b"%08x %s\n" % (zlib.crc32(text), text):
                    break
                entry = json.loads(text)
                self._places[entry["path"]] = (entry["stamp"], offset)
                offset += len(line)
            if not read_only:
                file.truncate(offset)
        return True


def _key(path: pathlib.Path) -> str:
    return os.fsencode(path.absolute()).hex()
