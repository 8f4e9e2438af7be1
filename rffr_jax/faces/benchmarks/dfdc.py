"""DFDC: the Deepfake Detection Challenge, and its preview, by their label files.

    [train/]dfdc_train_part_N/metadata.json    {"x.mp4": {"label": "FAKE", "original": "y.mp4"}}
    [test/]labels.csv                          filename,label with 1 = fake
    validation/labels.csv                      the same, of the public leaderboard's videos
    {test,validation}/metadata.json            as the training's, or with "is_fake": 0 or 1
    dataset.json                               the preview: {"PATH": {"label": "fake", "set": ...}}

Videos lie beside their label file or in `videos` there; those of a `labels.csv` may lie in `test`
besides. Label files are looked for in the folder and up to three levels below.

The split is what metadata.json says in `split`; else the label file's folder, or the nearest above
it, that is called train, validation (or val) or test, the folder given being the last one asked;
else a `labels.csv` is of the test videos and a `metadata.json` of training videos. Training parts
are `train` whatever lies above them.

Only where no label file is of validation videos, the parts 45 to 49 stand in for them: they are
`validation`, whole and always the same ones. With official validation videos all parts are `train`.
That depends only on the label files, not on which videos are there.

A fake's source is its `original`, which is its group too; a fake without one is its own. A fake is
in the split of its original. The benchmark does not say who is to be seen: a person may be in
several parts.

The preview is a data set of its own with the splits train and test that it comes with, and without
validation. Its group and person is `target_id`. A fake SOURCE_NAME is
taken to be made from the original called NAME, where there is one.
"""

import collections
import csv
import dataclasses
import io
import os
import pathlib
import re
from typing import Any

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks.catalogue import Catalogue
from rffr_jax.faces.media import SPLIT_NAMES, Benchmark, Medium
from rffr_jax.runs.text_files import read_json, read_text

DATASET, PREVIEW_DATASET = "DFDC", "DFDC-preview"
METADATA, LABELS, PREVIEW = "metadata.json", "labels.csv", "dataset.json"
PART = re.compile(r"dfdc_train_part_0*(\d+)")
STAND_INS = {f"dfdc_train_part_{number}" for number in range(45, 50)}  # for validation


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What a label file says of a video; label None, original and split "" where it does not."""

    label: int | None
    original: str = ""
    split: str = ""


@dataclasses.dataclass(frozen=True)
class _LabelFile:
    """A label file with its entries, by names of videos, and the folders that these may lie in.

    Attributes:
      part: what ids begin with, of entries that do not say another split than `split`.
    """

    path: pathlib.Path
    part: str
    split: str
    entries: dict[str, _Entry]
    places: tuple[pathlib.Path, ...]

    def home(self, name: str) -> tuple[str, str]:
        """Part and split of an entry."""
        said = self.entries[name].split
        return (self.part, self.split) if said in ("", self.split) else (said, said)


def find(folder: pathlib.Path) -> Benchmark:
    """The videos that are there and that a label file names.

    Ids are `dfdc_train_part_N/NAME`, `validation/NAME`, `test/NAME` and `preview/PATH`.

    Raises:
      UserError: no label files, or one that cannot be read or contradicts another.
    """
    catalogue = Catalogue(folder, (METADATA, LABELS, PREVIEW))
    paths = _label_files(catalogue)
    if not any(paths.values()):
        raise UserError(
            f"--input {folder}: not DFDC: no {METADATA}, {LABELS} or {PREVIEW} there or up to "
            "three levels below; name the folder that holds dfdc_train_part_N, test or the preview"
        )
    files, used = [], set()
    for path in paths[LABELS]:
        here = path.parent
        near = [place / METADATA for place in (here, here / "videos", here / "test")]
        metadata = [other for other in near if other in paths[METADATA]]
        used.update(metadata)
        files.append(_labels_file(folder, path, metadata))
    files += [_metadata_file(folder, path) for path in paths[METADATA] if path not in used]
    splits = {file.home(name)[1] for file in files for name in file.entries}
    stand_ins = set() if "validation" in splits else STAND_INS
    for file in files:
        _add(catalogue, file, stand_ins)
    for path in paths[PREVIEW]:
        _add_preview(catalogue, path)
    return catalogue.benchmark()


def _label_files(catalogue: Catalogue) -> dict[str, list[pathlib.Path]]:
    found: dict[str, list[pathlib.Path]] = {METADATA: [], LABELS: [], PREVIEW: []}
    level = [catalogue.folder]
    for depth in range(4):
        deeper = []
        for folder in level:
            for path in catalogue.entries(folder):
                if path.name in found:
                    found[path.name].append(path)
                elif depth < 3 and not path.suffix and os.path.isdir(path):
                    deeper.append(path)
        level = deeper
    return found


def _home(folder: pathlib.Path, path: pathlib.Path) -> tuple[str, str]:
    """Part and split of a label file, by its place; the module's docstring has the rule."""
    here = path.parent
    numbered = PART.fullmatch(here.name)
    if numbered:
        return f"dfdc_train_part_{numbered[1]}", "train"
    for name in reversed((folder.name, *here.relative_to(folder).parts)):
        split = SPLIT_NAMES.get(name.lower())
        if split:
            return here.name if split == "train" else split, split
    return ("test", "test") if path.name == LABELS else (here.name, "train")


def _metadata_file(folder: pathlib.Path, path: pathlib.Path) -> _LabelFile:
    here = path.parent
    entries = {name: _entry(path, name, value) for name, value in _object(path).items()}
    return _LabelFile(path, *_home(folder, path), entries, (here, here / "videos"))


def _labels_file(
    folder: pathlib.Path, path: pathlib.Path, metadata: list[pathlib.Path]
) -> _LabelFile:
    """A labels.csv, with what metadata.json tells besides."""
    told: dict[str, tuple[pathlib.Path, _Entry]] = {}
    for other in metadata:
        for name, value in _object(other).items():
            told[name] = (other, _entry(other, name, value, needs_label=False))
    entries = {}
    for name, label in _read_labels(path).items():
        other, entry = told.get(name, (path, _Entry(label)))
        if entry.label not in (None, label):
            raise UserError(
                f"{path}: {name} has label {label}, {other} says {entry.label}; correct one"
            )
        entries[name] = dataclasses.replace(entry, label=label)
    here = path.parent
    places = (here / "videos", here, here / "test" / "videos", here / "test")
    return _LabelFile(path, *_home(folder, path), entries, places)


def _add(catalogue: Catalogue, file: _LabelFile, stand_ins: set[str]) -> None:
    list_name = catalogue.name(file.path)
    listed = {name: catalogue.listed_path(name, list_name) for name in file.entries}
    stems = {name: path.stem for name, path in listed.items() if path is not None}
    namesakes = collections.Counter(stems.values())
    homes = {stem: file.home(name) for name, stem in stems.items()}
    videos = catalogue.videos(*file.places)
    absent = {}
    for name, stem in stems.items():
        entry, (part, split) = file.entries[name], homes[stem]
        id_ = f"{part}/{stem}"
        if namesakes[stem] > 1:
            catalogue.miss(f"{id_}: {name} in {list_name} shares it with another one, left out")
            continue
        source, source_id = stem, id_
        if entry.label and entry.original:
            original = catalogue.listed_path(entry.original, f"{list_name}: original of {name}")
            if original is None:
                continue
            source = original.stem
            source_part, source_split = homes.get(source, (part, split))
            source_id = f"{source_part}/{source}"
            if source_split != split:
                raise UserError(
                    f"{file.path}: {name} is {split} and its original {source_split}; "
                    "they belong in one split, correct it"
                )
        if stem not in videos:
            catalogue.absent(id_, split, f"listed in {list_name}")
        elif source not in videos and source not in homes:
            absent[source_id] = split
        for path in videos.get(stem, ()):
            catalogue.add(
                Medium(
                    id=id_,
                    path=path,
                    split="validation" if part in stand_ins and split == "train" else split,
                    label=int(bool(entry.label)),
                    dataset=DATASET,
                    method="fake" if entry.label else "real",
                    source=source_id,
                    group=source_id,
                )
            )
    for source_id, split in sorted(absent.items()):
        catalogue.absent(source_id, split, f"the original of fakes in {list_name}")
    for stem in sorted(videos.keys() - homes.keys()):
        catalogue.unlisted(videos[stem], list_name)


def _add_preview(catalogue: Catalogue, file: pathlib.Path) -> None:
    entries = []
    for name, value in _object(file).items():
        label = _entry(file, name, value).label
        split = value.get("set")
        if split not in ("train", "test"):
            raise UserError(f"{file}: {name}: set is {split!r} and not train or test; correct it")
        path = catalogue.listed_path(name, catalogue.name(file))
        if path is not None:
            entries.append((path, label, split, value.get("target_id")))
    originals = {path.stem: path for path, label, _, _ in entries if not label}
    for path, label, split, target in entries:
        there = file.parent / path
        if not os.path.isfile(there):
            name = path.with_suffix("")
            catalogue.absent(f"preview/{name}", split, f"listed in {catalogue.name(file)}")
            continue
        original = originals.get(path.stem.partition("_")[2], path) if label else path
        person = "" if target is None else str(target)
        catalogue.add(
            Medium(
                id=f"preview/{path.with_suffix('')}",
                path=there,
                split=split,
                label=int(bool(label)),
                dataset=PREVIEW_DATASET,
                method=(path.parts[0] if len(path.parts) > 1 else "fake") if label else "real",
                source=f"preview/{original.with_suffix('')}",
                group=f"preview/{person}" if person else "",
                person=person,
            )
        )


def _object(file: pathlib.Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(f'{file}: not an object like {{"x.mp4": {{"label": "FAKE"}}}}; correct it')
    return content


def _entry(file: pathlib.Path, name: str, value: Any, *, needs_label: bool = True) -> _Entry:
    if not isinstance(value, dict):
        raise UserError(f'{file}: {name} is not an object like {{"label": "FAKE"}}; correct it')
    labels = {"REAL": 0, "FAKE": 1, "0": 0, "1": 1, "FALSE": 0, "TRUE": 1}
    text = str(value.get("label", value.get("is_fake", "")))
    label = labels.get(text.upper())
    if label is None and (needs_label or text):
        raise UserError(f"{file}: {name}: label {text!r} is neither REAL nor FAKE; correct it")
    original = value.get("original")
    split = SPLIT_NAMES.get(str(value.get("split", "")).lower(), "")
    return _Entry(label, original if isinstance(original, str) else "", split)


def _read_labels(file: pathlib.Path) -> dict[str, int]:
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    labels: dict[str, int] = {}
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells) or (not labels and cells[:2] == ["filename", "label"]):
                continue
            place = f"{file}:{reader.line_num}"
            if len(cells) != 2 or cells[1] not in ("0", "1"):
                line = ",".join(cells)
                raise UserError(
                    f"{place}: {line!r} is not a video and 0 (real) or 1 (fake); correct it"
                )
            if cells[0] in labels:
                raise UserError(f"{place}: {cells[0]} is there twice; keep one of the two")
            labels[cells[0]] = int(cells[1])
    except csv.Error as error:
        raise UserError(f"{file}:{reader.line_num}: {error}; correct it") from None
    return labels
