"""Shards of WebDataset (`tar:FILES`): images inside tar files, read without unpacking."""

import json
import tarfile
from pathlib import Path
from typing import Any

from rffr_jax.data.readers.folder import default_dataset_name
from rffr_jax.data.readers.packed import (
    PackedDataset,
    find_files,
    make_example,
    parse_label,
    parse_landmarks,
)
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS


class TarImages:
    """Images at known places of tar files."""

    def __init__(self, places: list[tuple[Path, int, int]]):
        """
        Args:
          places: of each image its file, the offset of its first byte, and its size in bytes.
        """
        self._places = places

    def read(self, index: int) -> bytes:
        """The bytes of image `index`.

        Raises:
          BadImageError: the file is gone or shorter than it was.
        """
        path, offset, size = self._places[index]
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise BadImageError(str(path), (error.strerror or str(error)).lower()) from None
        if len(data) != size:
            raise BadImageError(str(path), "the tar file is cut off")
        return data


def read_tar(path: Path, split: str, *, asked: bool) -> PackedDataset:
    """Lists the images of tar files by reading only the headers of their members.

    Members of one name up to the first dot are one sample, as in WebDataset: an image, and a label
    as text in NAME.cls or as `label` in NAME.json. That object may hold `dataset`, `method`,
    `video`, `frame`, `source` and `group`, as a column of a table does, `landmarks` as a list of
    numbers, and other keys, which are not read. Labels are 0 or real, 1 or fake. A sample without
    an image is an error.

    Args:
      path: a file, a pattern with `*`, or a folder of such files.
      split: of a folder.
      asked: whether the user named the split.

    Raises:
      UserError: no such file; one that is no tar file, is compressed or cut off; a sample without
        image or label, with two labels that differ, or that is there twice.
    """
    where = f"tar:{path}"
    dataset = default_dataset_name(path)
    examples, places, landmarks, seen = [], [], [], set()
    for file in find_files(where, path, ".tar", split, asked):
        for key, (member, values) in _read_samples(file).items():
            place = f"tar:{file}: {key}"
            if key in seen:
                raise UserError(f"{place} is there twice; give each sample a name of its own")
            seen.add(key)
            if member is None or "label" not in values:
                absent = "image" if member is None else "label (KEY.cls, or `label` in KEY.json)"
                raise UserError(f"{place} has no {absent}; correct it, or leave the sample out")
            examples.append(make_example(place, key, f"{file}/{member.name}", values, dataset))
            places.append((file, member.offset_data, member.size))
            landmarks.append(parse_landmarks(place, values.get("landmarks")))
    if not examples:
        raise UserError(f"{where}: no samples in it; name tar files of images")
    known = any(points is not None for points in landmarks)
    return PackedDataset(
        tuple(examples), TarImages(places).read, landmarks=tuple(landmarks) if known else ()
    )


def _read_samples(file: Path) -> dict[str, tuple[tarfile.TarInfo | None, dict[str, Any]]]:
    """By the name of a sample its image and what its other members say of it."""
    images: dict[str, tarfile.TarInfo] = {}
    values: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if not member.isreg() or not stem:
                    continue
                key = f"{folder}{slash}{stem}"
                said = values.setdefault(key, {})
                if f".{ending.lower()}".endswith(IMAGE_EXTENSIONS):
                    if key in images:
                        raise UserError(
                            f"tar:{file}: {key} has two images; give each a name of its own"
                        )
                    images[key] = member
                elif ending in ("cls", "json"):
                    place = f"tar:{file}: {member.name}"
                    _add_values(said, _read_values(tar, member, place), place)
            # A block of zeros ends a tar file. tarfile takes a header that is cut off for it.
            if file.stat().st_size < tar.offset + tarfile.BLOCKSIZE:
                raise tarfile.ReadError("unexpected end of data")
    except tarfile.ReadError as error:
        raise UserError(
            f"tar:{file}: no whole tar file ({error}); fetch it again, or unpack one that is "
            "compressed"
        ) from None
    except OSError as error:
        raise UserError(f"tar:{file}: {(error.strerror or str(error)).lower()}") from None
    return {key: (images.get(key), said) for key, said in values.items()}


def _add_values(said: dict[str, Any], more: dict[str, Any], place: str):
    """Raises: UserError if what was said of the sample before has another label."""
    labels = [values["label"] for values in (said, more) if "label" in values]
    if len(set(map(parse_label, labels))) > 1:
        raise UserError(
            f"{place}: label {labels[1]!r}, and {labels[0]!r} in another member of its name; "
            "correct one"
        )
    said.update(more)


def _read_values(tar: tarfile.TarFile, member: tarfile.TarInfo, place: str) -> dict[str, Any]:
    content = tar.extractfile(member)
    assert content is not None  # it is a regular file
    try:
        text = content.read().decode()
        values = {"label": text.strip()} if member.name.endswith(".cls") else json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{place}: no text or no JSON; correct it") from None
    if not isinstance(values, dict):
        raise UserError(f"{place}: no JSON object; it needs {{'label': 0 or 1}}")
    return values
