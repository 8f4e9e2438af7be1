"""What is known of files that were looked at, line by line on disk: a killed run goes on there.

The file begins with a line about the settings; records that other settings made are of no use, and
the file is begun anew. A file's record counts as long as its size and time stamp are the same.
Every line carries a checksum: what a damaged one and those behind it tell of is looked at anew.
"""

import json
import os
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NAME = "finished.jsonl"
_SUM = 9  # bytes before a line's JSON: its CRC-32 in hexadecimal digits, and a space


class FinishedFiles:
    """Records by path, in a file and not in memory."""

    def __init__(self, folder: pathlib.Path, settings: Mapping[str, Any], *, own: bool = True):
        """
        Args:
          folder: where the file is, or is made.
          settings: all that a record depends on, its own file apart; becomes JSON.
          own: whether this process writes the file; another's is read as far as it goes.
        """
        self._file = folder / NAME
        self._places: dict[str, tuple[str, int]] = {}
        header = json.dumps({"settings": settings}, sort_keys=True)
        if not self._read(header.encode(), own) and own:
            self._file.write_text(header + "\n", encoding="utf-8")

    def __contains__(self, path: pathlib.Path) -> bool:
        place = self._places.get(_key(path))
        return place is not None and place[0] == _stamp(path)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, path: pathlib.Path, record: dict[str, Any]):
        """Keeps a record; it is on disk when this returns."""
        key, stamp = _key(path), _stamp(path)
        text = json.dumps({"path": key, "stamp": stamp, "record": record}, allow_nan=False).encode()
        with self._file.open("ab") as file:
            self._places[key] = (stamp, file.tell())
            file.write(b"%08x %s\n" % (zlib.crc32(text), text))

    def records(self, paths: Sequence[pathlib.Path]) -> Iterator[dict[str, Any]]:
        """The records of files that are all there, in the order of `paths`."""
        with self._file.open("rb") as file:
            for path in paths:
                file.seek(self._places[_key(path)][1])
                yield json.loads(file.readline()[_SUM:])["record"]

    def _read(self, header: bytes, own: bool) -> bool:
        """Takes in what is there, of its own cuts off from a broken line on; False: nothing."""
        if not self._file.is_file():
            return False
        with self._file.open("r+b" if own else "rb") as file:
            if file.readline() != header + b"\n":
                return False
            place = file.tell()
            for line in file:
                text = line[_SUM:-1]
                if line != b"%08x %s\n" % (zlib.crc32(text), text):
                    break
                entry = json.loads(text)
                self._places[entry["path"]] = (entry["stamp"], place)
                place += len(line)
            if own:
                file.truncate(place)
        return True


def _key(path: pathlib.Path) -> str:
    return os.fsencode(path.absolute()).hex()


def _stamp(path: pathlib.Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} bytes at {status.st_mtime_ns}"
