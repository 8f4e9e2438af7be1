"""A cache of what a frozen model says of images: computed once for each image, and looked up then.

On disk, arrays are the rows of .npy files, which are read through memory maps. Files are only
added, atomically and under unique names, so any number of processes and runs can share a folder
without locks; at worst a row exists twice. A damaged row counts as missing. To clear a folder,
delete it.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import threading
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree, UInt8

from rffr_jax.cluster.sharding import all_gather_parameters, batch_sharding, local_rows, put_batch
from rffr_jax.runs.atomic_files import atomic_write, write_json

log = logging.getLogger(__name__)

FORMAT = 3
"""Rises when the same weights and pixels give other arrays, or the file format changes."""

FILE_BYTES = 64 * 10**6
DIGEST_BYTES = 16
Digests = UInt8[np.ndarray, "rows 16"]


def shared_folder(entry: str, workdir: Path) -> Path | None:
    """The folder of the config entry `residuals.folder`; None stores nothing on disk.

    Args:
      workdir: of the detector; the base of a relative folder.
    """
    return Path(os.path.normpath(workdir / entry)) if entry else None


class MemoryBudget:
    """The memory that the caches of this process may use together."""

    def __init__(self, gigabytes: float):
        self._left = round(gigabytes * 10**9)
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Reserves `size` bytes if they fit; returns whether they do."""
        with self._lock:
            fits = size <= self._left
            self._left -= size if fits else 0
        return fits


class ArrayCache:
    """Arrays of one shape that a frozen model computes from images, by the digest of their pixels.

    One thread may read while another adds.

    Attributes:
      name: of the arrays, for messages.
      memory: the budget of this process, which others may use, too.
      folder: of all runs; a model with its settings has a folder in it. None stores arrays only in
        memory, as far as they fit.
      shape: of the array of one image.
      array_bytes: its size.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[PyTree, Array], Array],
        parameters: PyTree,
        mesh: Mesh,
        *,
        shape: Sequence[int],
        dtype: DTypeLike,
        about: Mapping[str, object],
        folder: Path | None,
        memory: MemoryBudget,
    ):
        """
        Args:
          compute: the arrays of uint8 images [batch, size, size, 3] from the model's parameters; it
            is compiled here.
          parameters: of the model, on the mesh.
          about: everything that an array depends on, except the parameters and the image.
        """
        self.name, self.memory, self.folder = name, memory, folder
        self.shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._parameters, self._mesh, self._settings = parameters, mesh, about
        self.array_bytes = self._dtype.itemsize * int(np.prod(self.shape))
        self.compute = jax.jit(
            lambda parameters, images: compute(all_gather_parameters(parameters, mesh), images),
            out_shardings=batch_sharding(mesh),
        )
        stored = self._dtype.newbyteorder("<")
        self._row = np.dtype(
            [("digest", "u1", DIGEST_BYTES), ("checksum", "<u4"), ("array", stored, self.shape)]
        )
        self._in_memory: dict[bytes, np.ndarray] = {}
        self._waiting: dict[bytes, np.ndarray] = {}  # for the next file
        self._places: dict[bytes, tuple[str, int]] = {}  # file and row
        self._known_files: set[str] = set()
        self._damaged_files: set[str] = set()
        self._writes = folder is not None
        self._lock = threading.RLock()  # for what stands above

    def of(
        self, images: UInt8[np.ndarray, "rows size size 3"], digests: Digests
    ) -> Float[np.ndarray, "rows ..."]:
        """The arrays of this process's rows of a batch.

        All processes call it together: if one row is missing anywhere, the whole batch is computed.

        Args:
          digests: of the images, from `image_digests`.
        """
        found = self.read(digests)
        if _any_process(any(array is None for array in found)):
            on_mesh = put_batch({"image": images}, self._mesh)["image"]
            computed = local_rows(self.compute(self._parameters, on_mesh))
            self.add(digests, computed)
            found = [new if old is None else old for old, new in zip(found, computed, strict=True)]
        return np.stack(found)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def read(self, digests: Digests) -> list[np.ndarray | None]:
        """The cached arrays of images, read-only; None for missing ones."""
        names = [digest.tobytes() for digest in digests]
        with self._lock:
            self._look_for(names)
            return [self._read(name) for name in names]

    def holds(self, digests: Digests) -> bool:
        """Whether every image is in the cache; the rows themselves are not read."""
        names = [digest.tobytes() for digest in digests]
        with self._lock:
            self._look_for(names)
            return all(map(self._has, names))

    def add(self, digests: Digests, arrays: Float[np.ndarray, "rows ..."]):
        """Adds missing arrays; they are in a file after `flush` at the latest."""
        with self._lock:
            for digest, array in zip(digests, arrays, strict=True):
                name = digest.tobytes()
                if self._has(name):
                    continue
                own = np.array(array, self._dtype)
                own.setflags(write=False)
                self._remember(name, own)
                if self._writes:
                    self._waiting[name] = own
                    if len(self._waiting) * self.array_bytes >= FILE_BYTES:
                        self.flush()

    def bytes_on_disk(self) -> int:
        """Size of the files that the folder holds for this model and these settings."""
        return sum(file.stat().st_size for file in self._model_folder.glob("*.npy"))

    def flush(self):
        """Writes the waiting arrays to a file; a failure is one warning."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            if not waiting:
                return
            about = self._model_folder / "about.json"
            if not about.exists():  # says which model the folder is for
                with contextlib.suppress(OSError):  # the rows below say so if they fail, too
                    write_json(about, self._about)
            rows = np.zeros(len(waiting), self._row)
            for row, (name, array) in zip(rows, waiting.items(), strict=True):
                row["digest"], row["array"] = np.frombuffer(name, np.uint8), array
                row["checksum"] = _checksum(name, array)
            file = self._model_folder / f"{uuid.uuid4().hex}.npy"
            try:
                with atomic_write(file) as part, part.open("wb") as opened:
                    np.save(opened, rows)
            except OSError as error:
                self._writes = False
                log.warning(
                    "%s cannot be written (%s); this run computes anew what does not fit into "
                    "memory",
                    self._model_folder,
                    error.strerror or error,
                )
                return
            self._enter(file.name, waiting)

    # ---- rows

    def _has(self, name: bytes) -> bool:
        return name in self._in_memory or name in self._waiting or name in self._places

    def _remember(self, name: bytes, array: np.ndarray):
        if name not in self._in_memory and self.memory.take(self.array_bytes):
            self._in_memory[name] = array

    def _read(self, name: bytes) -> np.ndarray | None:
        array = self._in_memory.get(name, self._waiting.get(name))
        while array is None and name in self._places:
            file, row = self._places[name]
            try:
                array = self._row_of(file, row, name)
            except Exception as error:
                self._leave_out(file, error)
                self._places, self._known_files = {}, set()  # it may be in another file, too
                self._look_for([name])
            else:
                self._remember(name, array)
        return array

    # ---- files

    @functools.cached_property
    def _model_folder(self) -> Path:
        """Computed at the first use, because the digest of a model takes a while."""
        assert self.folder is not None
        name = hashlib.blake2b(json.dumps(self._about, sort_keys=True).encode(), digest_size=8)
        return self.folder / name.hexdigest()

    @functools.cached_property
    def _about(self) -> dict[str, object]:
        """Everything that the array of an image depends on, except the image."""
        return {
            "format": FORMAT,
            "arrays": self.name,
            **self._settings,
            "digest": parameters_digest(self._parameters),
            "backend": jax.default_backend(),
            "matmul_precision": str(jax.config.jax_default_matmul_precision),  # pyright: ignore[reportAttributeAccessIssue]
        }

    def _look_for(self, names: Iterable[bytes]):
        """Reads the digests of new files in the folder, if any of `names` is unknown."""
        if self.folder is None or all(map(self._has, names)):
            return
        files = {file.name for file in self._model_folder.glob("*.npy")}
        for file in sorted(files - self._known_files - self._damaged_files):
            try:
                digests = self._opened(file)["digest"]
            except Exception as error:  # a damaged header raises many kinds
                self._leave_out(file, error)
            else:
                self._enter(file, (digest.tobytes() for digest in digests))

    def _enter(self, file: str, names: Iterable[bytes]):
        self._known_files.add(file)
        for row, name in enumerate(names):
            self._places.setdefault(name, (file, row))

    def _opened(self, file: str) -> np.memmap:
        rows = np.lib.format.open_memmap(self._model_folder / file, mode="r")
        if rows.dtype != self._row or rows.ndim != 1:
            raise ValueError("it holds arrays of another shape")
        return rows

    def _row_of(self, file: str, row: int, name: bytes) -> np.ndarray:
        found = self._opened(file)[row]
        array = np.array(found["array"])
        if found["checksum"] != _checksum(name, array):
            raise ValueError("its checksum is wrong")
        array.setflags(write=False)
        return array

    def _leave_out(self, file: str, error: Exception):
        if not self._damaged_files:
            log.warning(
                "%s cannot be used (%s) and is computed anew; delete it and any others like it",
                self._model_folder / file,
                getattr(error, "strerror", None) or error,
            )
        self._damaged_files.add(file)


def image_digests(
    images: UInt8[np.ndarray, "rows size size 3"],
) -> Digests:
    """A digest of the pixels of every image."""
    digests = [
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=DIGEST_BYTES).digest()
        for image in images
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(images), DIGEST_BYTES)


def parameters_digest(parameters: PyTree) -> str:
    """A digest of names, shapes, types and values; all processes call it together."""
    digest = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _checksum(name: bytes, array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data, zlib.crc32(name))


def _any_process(flag: bool) -> bool:
    """Whether `flag` holds on any process."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())
