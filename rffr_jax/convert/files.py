"""Files of weights, read without running anything that is in them."""

import argparse
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from rffr_jax.convert.shards import INDEX, check_shards, find_weights, read_index, refuse_shard
from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import atomic_write

PYTORCH = (".pth", ".pt", ".tar", ".bin", ".ckpt")
ENDINGS = (".safetensors", ".npz", *PYTORCH)
WRAPPERS = ("model", "state_dict")
FLOATS = {"F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16"}


class LazyArrays(Mapping[str, np.ndarray]):
    """Arrays by name, each read when it is asked for; float32 whatever the file holds."""

    def __init__(
        self, path: pathlib.Path, names: Mapping[str, str], read: Callable[[str], np.ndarray]
    ):
        """Names may be other than the file's: `names` says what each is called there."""
        self._path, self._names, self._read = path, names, read

    def without(self, prefix: str) -> "LazyArrays":
        """The same arrays, a prefix taken off where there is one."""
        names = {name.removeprefix(prefix): there for name, there in self._names.items()}
        return LazyArrays(self._path, names, self._read)

    def chosen(self, names: Iterable[str]) -> "LazyArrays":
        """Those of the arrays that have one of these names."""
        return LazyArrays(self._path, {name: self._names[name] for name in names}, self._read)

    def __getitem__(self, name: str) -> np.ndarray:
        there = self._names[name]
        with _damage(self._path):
            return np.asarray(self._read(there), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """What a file holds, and what it says of itself.

    Attributes:
      wrapper: the entry that the arrays were under: `model`, `state_dict`, or "".
      said: what the file itself says of the weights.
      shards: the files that hold the arrays, where `path` is their index.
    """

    path: pathlib.Path
    arrays: LazyArrays
    wrapper: str = ""
    said: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shards: Sequence[pathlib.Path] = ()


@contextlib.contextmanager
def open_weights(path: pathlib.Path) -> Iterator[WeightFile]:
    """A `.safetensors`, `.npz` or PyTorch file of weights, an index of shards, or a folder with
    one of these.

    Raises:
      UserError: no such file, one that is damaged or of another format, a pickle that holds code,
        a PyTorch file where PyTorch is not installed, or shards that are missing.
    """
    if path.is_dir():
        path = find_weights(path, ENDINGS)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    refuse_shard(path)
    with _by_format(path) as file:
        yield file


def sha256(path: pathlib.Path) -> str:
    """The SHA-256 digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _by_format(path: pathlib.Path) -> Iterator[WeightFile]:
    with contextlib.ExitStack() as stack:
        if path.name.endswith(INDEX):
            shards = read_index(path)
            parts = {shard: stack.enter_context(_by_format(shard)).arrays for shard in shards}
            check_shards(path, shards, parts)
            places = {name: arrays for arrays in parts.values() for name in arrays}
            arrays = LazyArrays(path, _same(places), lambda name: places[name][name])
            yield WeightFile(path, arrays, shards=list(shards))
        elif path.suffix == ".safetensors":
            with _damage(path), safetensors.safe_open(path, framework="numpy") as file:
                names, metadata = file.keys(), file.metadata() or {}

            def read(name: str) -> np.ndarray:
                with safetensors.safe_open(path, framework="numpy") as file:
                    _refuse_type(path, name, file.get_slice(name).get_dtype())
                    return file.get_tensor(name)  # and give the mapped memory back

            yield WeightFile(path, LazyArrays(path, _same(names), read), said=metadata)
        elif path.suffix == ".npz":
            with _damage(path):
                if not zipfile.is_zipfile(path):
                    raise zipfile.BadZipFile("it is no zip file")
                stream = stack.enter_context(path.open("rb"))
                file = stack.enter_context(np.load(stream, allow_pickle=False))
            yield WeightFile(path, LazyArrays(path, _same(file.files), file.__getitem__))
        elif path.suffix in PYTORCH:
            yield _from_pytorch(path)
        else:
            endings = " ".join((*ENDINGS, INDEX))
            raise UserError(f"{path}: no file of weights by its name; known endings: {endings}")


def write_safetensors(path: pathlib.Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]):
    """Writes a file that PyTorch's loaders take, whole or not at all.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        with atomic_write(path) as part:
            safetensors.numpy.save_file(arrays, part, {"format": "pt", **metadata})
            part.chmod(0o666 & ~_umask())  # the library leaves the file to its owner alone
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error


@contextlib.contextmanager
def _damage(path: pathlib.Path) -> Iterator[None]:
    """What goes wrong while a file is read is told as damage: readers raise all sorts of errors."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0].partition(". ")[0][:160] or type(error).__name__
        raise UserError(f"{path} cannot be read ({reason}); is it whole? Fetch it again") from error


def _from_pytorch(path: pathlib.Path) -> WeightFile:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"{path}: reading this format needs PyTorch (pip install torch; a CPU build will do)"
        ) from error

    with (
        _damage(path),
        warnings.catch_warnings(action="ignore"),
        torch.serialization.safe_globals([argparse.Namespace, *_numpy_scalars()]),
    ):
        try:
            mapped = zipfile.is_zipfile(path)
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            code = re.search(r"GLOBAL ([\w.]+)", str(error))
            if code is None:
                raise UserError(
                    f"{path} is no file of PyTorch, or damaged; fetch it again"
                ) from error
            raise UserError(
                f"{path} holds more than weights ({code[1]}) and is not opened: such a file can "
                "run any code; save its state_dict alone, or as .safetensors"
            ) from error

    entries = held if isinstance(held, dict) else {}
    wrapper = next((name for name in WRAPPERS if isinstance(entries.get(name), dict)), "")
    tensors = entries[wrapper] if wrapper else entries
    names = [
        name
        for name, value in tensors.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    ]
    if not names:
        there = ", ".join(map(str, entries)) or f"a {type(held).__name__}"
        raise UserError(f"{path} holds no arrays by name, but {there}; save a state_dict")
    args = entries.get("args")

    def read(name: str) -> np.ndarray:
        _refuse_type(path, name, str(tensors[name].dtype))
        return tensors[name].detach().float().numpy()

    said = vars(args) if wrapper and isinstance(args, argparse.Namespace) else {}
    return WeightFile(path, LazyArrays(path, _same(names), read), wrapper, said)


def _refuse_type(path: pathlib.Path, name: str, dtype: str):
    """Raises: UserError for integers and float8, which mean nothing without a scale."""
    if dtype.removeprefix("torch.") not in FLOATS:
        raise UserError(
            f"{path} holds {name} as {dtype}: weights in float8 or integers need scales, which are "
            "not read; save them as float32, float16 or bfloat16"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _same(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


def _numpy_scalars() -> list[Any]:
    """What a checkpoint with a NumPy number in it (a best score) is unpickled with."""
    from numpy._core.multiarray import scalar

    types = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"]}
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *types]
