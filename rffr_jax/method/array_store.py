"""Arrays of one shape under digests of what they were made from: in memory first, and in files.

Files are only added, each whole or not at all and under a name of its own, so any number of
processes and runs may use one folder at the same time without locks; at worst an array is there
twice. A file that is damaged is as if it were not there. To clear a store, delete its folder.

A file is a header, an index (digest and checksum of every array) and the arrays.
"""

import collections
import logging
import os
import struct
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import UInt8

from rffr_jax.runs.whole_files import whole_file

log = logging.getLogger(__name__)

FILE_BYTES = 64 * 10**6
SUFFIX = ".arrays"
DIGEST_BYTES = 16
Digests = UInt8[np.ndarray, "rows 16"]

_MAGIC = b"rffrkept"
_HEADER = struct.Struct("<8sQI")  # magic, number of arrays, checksum of the index
_INDEX = np.dtype([("digest", np.uint8, (DIGEST_BYTES,)), ("checksum", "<u4")])


class Memory:
    """How much may be kept in the memory of this process, over all that keep something."""

    def __init__(self, gigabytes: float):
        self._left = round(gigabytes * 10**9)

    def take(self, size: int) -> bool:
        """Whether `size` more bytes may be kept; if so, they count from now on."""
        if size > self._left:
            return False
        self._left -= size
        return True


class ArrayStore:
    """Digest -> array. What neither fits into memory nor has a folder is forgotten."""

    def __init__(
        self, folder: Path | None, shape: tuple[int, ...], dtype: DTypeLike, memory: Memory
    ):
        """
        Args:
          folder: where files are read and written; None keeps arrays in memory alone.
          shape, dtype: of every array.
          memory: arrays stay in memory until it is used up, and are read from files from then on.
        """
        self._folder, self._memory = folder, memory
        self._shape, self._dtype = shape, np.dtype(dtype).newbyteorder("<")
        self._size = int(np.prod(shape)) * self._dtype.itemsize
        self._kept: dict[bytes, np.ndarray] = {}
        self._waiting: dict[bytes, np.ndarray] = {}  # for the next file
        self._places: dict[bytes, tuple[str, int, int]] = {}  # file, offset, checksum
        self._known_files: set[str] = set()
        self._useless_files: set[str] = set()
        self._writes, self._warned = folder is not None, False

    def get(self, digests: Digests) -> list[np.ndarray | None]:
        """The arrays, read-only; None where there is none, or none that can be read."""
        names = [digest.tobytes() for digest in digests]
        self._look_for(names)
        found: dict[bytes, np.ndarray] = {}
        in_files: dict[str, list[bytes]] = collections.defaultdict(list)
        for digest in dict.fromkeys(names):
            array = self._kept.get(digest, self._waiting.get(digest))
            if array is not None:
                found[digest] = array
            elif digest in self._places:
                in_files[self._places[digest][0]].append(digest)
        for file, wanted in in_files.items():
            try:
                arrays = self._read(file, wanted)
            except (OSError, ValueError) as error:
                self._leave_out(file, error)
                self._places, self._known_files = {}, set()  # it may be in another file, too
                return self.get(digests)
            for digest, array in arrays.items():
                found[digest] = array
                self._keep(digest, array)
        return [found.get(digest) for digest in names]

    def holds(self, digests: Digests) -> bool:
        """Whether there is an array for every digest; files are not read again for that."""
        names = [digest.tobytes() for digest in digests]
        self._look_for(names)
        return all(map(self._has, names))

    def add(self, digests: Digests, arrays: np.ndarray):
        """Keeps the arrays that are not there; they are in a file after `flush` at the latest."""
        for name, array in zip(digests, arrays, strict=True):
            digest = name.tobytes()
            if self._has(digest):
                continue
            own = np.array(array, self._dtype)
            own.setflags(write=False)
            self._keep(digest, own)
            if self._writes:
                self._waiting[digest] = own
                if len(self._waiting) * self._size >= FILE_BYTES:
                    self.flush()

    def flush(self):
        """Writes what waits for a file; where that fails, one warning is all that comes of it."""
        waiting, self._waiting = self._waiting, {}
        if not waiting or self._folder is None:
            return
        index = np.zeros(len(waiting), _INDEX)
        index["digest"] = [np.frombuffer(digest, np.uint8) for digest in waiting]
        index["checksum"] = [zlib.crc32(array.data) for array in waiting.values()]
        name = uuid.uuid4().hex + SUFFIX
        try:
            with whole_file(self._folder / name) as part, part.open("wb") as file:
                file.write(_HEADER.pack(_MAGIC, len(index), zlib.crc32(index.tobytes())))
                file.write(index.tobytes())
                file.writelines(array.data for array in waiting.values())
        except OSError as error:
            self._writes = False
            log.warning(
                "%s cannot be written (%s); this run computes anew what does not fit into memory",
                self._folder,
                error.strerror or error,
            )
            return
        self._enter(name, index)

    def _has(self, digest: bytes) -> bool:
        return digest in self._kept or digest in self._waiting or digest in self._places

    def _keep(self, digest: bytes, array: np.ndarray):
        if digest not in self._kept and self._memory.take(self._size):
            self._kept[digest] = array

    # ---- files

    def _look_for(self, digests: Sequence[bytes]):
        """Reads the indices of files that are new in the folder, if any of `digests` is unknown."""
        if self._folder is None or all(map(self._has, digests)):
            return
        try:
            names = [name for name in os.listdir(self._folder) if name.endswith(SUFFIX)]
        except OSError:
            return
        for name in sorted(set(names) - self._known_files - self._useless_files):
            try:
                self._enter(name, self._read_index(name))
            except (OSError, ValueError) as error:
                self._leave_out(name, error)

    def _read_index(self, name: str) -> np.ndarray:
        assert self._folder is not None
        with (self._folder / name).open("rb") as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size:
                raise ValueError("it is too short")
            magic, count, checksum = _HEADER.unpack(head)
            whole = _HEADER.size + count * (_INDEX.itemsize + self._size)
            if magic != _MAGIC or os.fstat(file.fileno()).st_size != whole:
                raise ValueError("it is not of the size that it should have")
            index = file.read(count * _INDEX.itemsize)
        if zlib.crc32(index) != checksum:
            raise ValueError("its checksum is wrong")
        return np.frombuffer(index, _INDEX)

    def _enter(self, name: str, index: np.ndarray):
        self._known_files.add(name)
        first = _HEADER.size + index.nbytes
        for row, entry in enumerate(index):
            place = (name, first + row * self._size, int(entry["checksum"]))
            self._places.setdefault(entry["digest"].tobytes(), place)

    def _read(self, name: str, wanted: list[bytes]) -> dict[bytes, np.ndarray]:
        assert self._folder is not None
        arrays = {}
        with (self._folder / name).open("rb") as file:
            for digest in sorted(wanted, key=lambda digest: self._places[digest][1]):
                _, offset, checksum = self._places[digest]
                file.seek(offset)
                data = file.read(self._size)
                if len(data) != self._size or zlib.crc32(data) != checksum:
                    raise ValueError("its checksum is wrong")
                arrays[digest] = np.frombuffer(data, self._dtype).reshape(self._shape)
        return arrays

    def _leave_out(self, name: str, error: Exception):
        self._useless_files.add(name)
        if not self._warned:
            log.warning(
                "%s cannot be used (%s) and is computed anew; delete it and any others like it",
                self._folder and self._folder / name,
                getattr(error, "strerror", None) or error,
            )
        self._warned = True
