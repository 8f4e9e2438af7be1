"""Files of weights, read without running code that is in them."""

import argparse
import contextlib
import dataclasses
import json
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

from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import atomic_write

PYTORCH = (".pth", ".pt", ".tar", ".bin", ".ckpt")
ENDINGS = (".safetensors", ".npz", *PYTORCH)
INDEX = ".index.json"
USUAL_NAMES = ("model.safetensors", "pytorch_model.bin")
WRAPPERS = ("model", "state_dict")
FLOATS = {"F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16"}


class LazyArrays(Mapping[str, np.ndarray]):
    """Arrays by name, each read when it is used; float32 whatever the type in the file."""

    def __init__(
        self, path: pathlib.Path, names: Mapping[str, str], read: Callable[[str], np.ndarray]
    ):
        """`names` gives for each name the one in the file."""
        self._path, self._names, self._read = path, names, read

    def without_prefix(self, prefix: str) -> "LazyArrays":
        """The same arrays, without a prefix of their names."""
        names = {name.removeprefix(prefix): stored for name, stored in self._names.items()}
        return LazyArrays(self._path, names, self._read)

    def select(self, names: Iterable[str]) -> "LazyArrays":
        """The arrays of these names."""
        return LazyArrays(self._path, {name: self._names[name] for name in names}, self._read)

    def __getitem__(self, name: str) -> np.ndarray:
        stored = self._names[name]  # outside of the block: a KeyError is no damage
        with _refuse_damage(self._path):
            return np.asarray(self._read(stored), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """The arrays of a file and its metadata.

    Attributes:
      wrapper: the entry with the arrays: `model`, `state_dict`, or "".
      metadata: settings that the file itself contains.
      shards: the files with the arrays, if `path` is their index.
    """

    path: pathlib.Path
    arrays: LazyArrays
    wrapper: str = ""
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shards: Sequence[pathlib.Path] = ()


@contextlib.contextmanager
def open_weights(path: pathlib.Path) -> Iterator[WeightFile]:
    """Opens a `.safetensors`, `.npz` or PyTorch file, an index of shards, or a folder with one.

    Raises:
      UserError: the file is missing, damaged or of another format, it is a pickle with code, it
        needs PyTorch, which is not installed, or shards are missing.
    """
    if path.is_dir():
        path = _find_weights(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; correct --input")
    _refuse_shard(path)
    with _open_by_format(path) as file:
        yield file


@contextlib.contextmanager
def _open_by_format(path: pathlib.Path) -> Iterator[WeightFile]:
    with contextlib.ExitStack() as stack:
        if path.name.endswith(INDEX):
            shards = _read_index(path)
            parts = {shard: stack.enter_context(_open_by_format(shard)).arrays for shard in shards}
            _check_shards(path, shards, parts)
            places = {name: arrays for arrays in parts.values() for name in arrays}
            arrays = LazyArrays(path, _identity(places), lambda name: places[name][name])
            yield WeightFile(path, arrays, shards=list(shards))
        elif path.suffix == ".safetensors":
            with _refuse_damage(path), safetensors.safe_open(path, framework="numpy") as file:
                names, metadata = file.keys(), file.metadata() or {}

            def read(name: str) -> np.ndarray:
                with safetensors.safe_open(path, framework="numpy") as file:
                    _refuse_type(path, name, file.get_slice(name).get_dtype())
                    return file.get_tensor(name)  # and give the mapped memory back

            yield WeightFile(path, LazyArrays(path, _identity(names), read), metadata=metadata)
        elif path.suffix == ".npz":
            with _refuse_damage(path):
                if not zipfile.is_zipfile(path):
                    raise zipfile.BadZipFile("it is no zip file")
                stream = stack.enter_context(path.open("rb"))
                file = stack.enter_context(np.load(stream, allow_pickle=False))
            yield WeightFile(path, LazyArrays(path, _identity(file.files), file.__getitem__))
        elif path.suffix in PYTORCH:
            yield _from_pytorch(path)
        else:
            endings = " ".join((*ENDINGS, INDEX))
            raise UserError(f"{path}: no file of weights by its name; known endings: {endings}")


def write_safetensors(path: pathlib.Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]):
    """Writes a file that PyTorch's loaders read, complete or not at all.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        with atomic_write(path) as part:
            safetensors.numpy.save_file(arrays, part, {"format": "pt", **metadata})
            part.chmod(0o666 & ~_umask())  # the library gives only the owner access
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error


@contextlib.contextmanager
def _refuse_damage(path: pathlib.Path) -> Iterator[None]:
    """Raises: UserError for every error of a reader; readers have many types of errors."""
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
        _refuse_damage(path),
        warnings.catch_warnings(action="ignore"),
        torch.serialization.safe_globals([argparse.Namespace, *_numpy_scalars()]),
    ):
        try:
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            code = re.search(r"GLOBAL ([\w.]+)", str(error))
            if code is None:
                raise UserError(
                    f"{path} is no file of PyTorch, or damaged; fetch it again"
                ) from error
            raise UserError(
                f"{path} holds more than weights ({code[1]}) and is not opened: such a file can "
                "run any code; save only its state_dict, or save it as .safetensors"
            ) from error

    entries = content if isinstance(content, dict) else {}
    wrapper = next((name for name in WRAPPERS if isinstance(entries.get(name), dict)), "")
    tensors = entries[wrapper] if wrapper else entries
    names = [
        name
        for name, value in tensors.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    ]
    if not names:
        found = ", ".join(map(str, entries)) or f"a {type(content).__name__}"
        raise UserError(f"{path} holds no arrays by name, but {found}; save a state_dict")
    args = entries.get("args")

    def read(name: str) -> np.ndarray:
        _refuse_type(path, name, str(tensors[name].dtype))
        return tensors[name].detach().float().numpy()

    metadata = vars(args) if wrapper and isinstance(args, argparse.Namespace) else {}
    return WeightFile(path, LazyArrays(path, _identity(names), read), wrapper, metadata)


def _refuse_type(path: pathlib.Path, name: str, dtype: str):
    """Raises: UserError for integers and float8, which need a scale."""
    if dtype.removeprefix("torch.") not in FLOATS:
        raise UserError(
            f"{path} holds {name} as {dtype}: weights in float8 or integers need scales, which are "
            "not read; save them as float32, float16 or bfloat16"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _identity(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


def _numpy_scalars() -> list[Any]:
    """The types that a checkpoint with a NumPy number (a best score) needs for unpickling."""
    from numpy._core.multiarray import scalar

    types = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"]}
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *types]


# ---- folders and shards, as on Hugging Face's hub


def _find_weights(folder: pathlib.Path) -> pathlib.Path:
    """The file of weights in a folder: an index of shards, a usual name, or the only file.

    Raises:
      UserError: there is none, or there are several.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    indices = [path for path in files if path.name.endswith(INDEX)]
    weights = [path for path in files if path.suffix in ENDINGS]
    usual = [folder / name for name in USUAL_NAMES if folder / name in weights]
    found = indices or usual[:1] or weights
    if not found:
        raise UserError(
            f"{folder} holds no file of weights; known endings: {' '.join(ENDINGS)} {INDEX}"
        )
    if len(found) > 1:
        raise UserError(
            f"{folder} holds several files of weights; name one with --input: "
            f"{', '.join(path.name for path in found)}"
        )
    return found[0]


def _refuse_shard(path: pathlib.Path):
    """Raises: UserError if the name of a file says that it is one of several shards."""
    shard = re.search(r"-\d{5}-of-(\d{5})$", path.stem)
    if shard and int(shard[1]) > 1:
        raise UserError(
            f"{path} is one of {int(shard[1])} shards; name their index "
            "(model.safetensors.index.json, pytorch_model.bin.index.json) or the folder"
        )


def _read_index(path: pathlib.Path) -> dict[pathlib.Path, list[str]]:
    """The shards that an index names, and the names of the arrays in each.

    Raises:
      UserError: it is no index, or a shard is missing beside it.
    """
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        shards: dict[pathlib.Path, list[str]] = {}
        for name, file in places.items():
            shards.setdefault(path.with_name(file), []).append(name)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is no index of shards: it has no weight_map of names; fetch it again"
        ) from error
    if any(shard.name.endswith(INDEX) for shard in shards):
        raise UserError(
            f"{path} is no index of shards: it names an index as a shard; fetch it again"
        )
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise UserError(
            f"{path} names {len(shards)} shards; missing beside it: {', '.join(missing)}; "
            "fetch them"
        )
    return shards


def _check_shards(
    path: pathlib.Path,
    listed: Mapping[pathlib.Path, Sequence[str]],
    found: Mapping[pathlib.Path, Iterable[str]],
):
    """Raises: UserError if a shard does not hold the arrays that the index lists."""
    for shard, names in listed.items():
        odd = sorted(set(names) ^ set(found[shard]))
        if odd:
            raise UserError(
                f"{shard} is not the shard that {path.name} names: {len(odd)} of their names "
                f"differ, {odd[0]} for one; fetch both again"
            )
