"""DFDC: the Deepfake Detection Challenge, and its preview, by their label files.

    [train/]dfdc_train_part_N/metadata.json    {"x.mp4": {"label": "FAKE", "original": "y.mp4"}}
    [test/]labels.csv                          filename,label with 1 = fake
    [test/]metadata.json                       as the training's, or with "is_fake": 0 or 1
    dataset.json                               the preview: {"PATH": {"label": "fake", "set": ...}}

Videos lie beside their label file or in `videos` there; those of a `labels.csv` may lie in `test`
besides. Label files are looked for in the folder and up to three levels below.

A fake's source is its `original`, which is its group too; a fake without one is its own. Of the 50
training parts, the parts 45 to 49 are `validation`, whole and always the same ones: a fake is where
its original is. The other parts, and training videos in folders of other names, are `train`.
The benchmark does not say who is to be seen: a person may be in several parts.

The preview is a data set of its own with the splits train and test that it comes with, and without
validation. Its group and person is `target_id`. A fake SOURCE_NAME is
taken to be made from the original called NAME, where there is one.
"""

import csv
import io
import os
import pathlib
import re
from typing import Any

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks.catalogue import Catalogue
from rffr_jax.faces.benchmarks.lists import listed_path, read_json, read_text
from rffr_jax.faces.media import Benchmark, Medium

DATASET, PREVIEW_DATASET = "DFDC", "DFDC-preview"
METADATA, LABELS, PREVIEW = "metadata.json", "labels.csv", "dataset.json"
PART = re.compile(r"dfdc_train_part_0*(\d+)")
VALIDATION_PARTS = range(45, 50)


def find(folder: pathlib.Path) -> Benchmark:
    """The videos that are there and that a label file names.

    Ids are `dfdc_train_part_N/NAME`, `test/NAME` and `preview/PATH`.

    Raises:
      UserError: no label files, or one that cannot be read or contradicts another.
    """
    catalogue = Catalogue(folder)
    files = _label_files(catalogue)
    if not any(files.values()):
        raise UserError(
            f"--input {folder}: not DFDC: no {METADATA}, {LABELS} or {PREVIEW} there or up to "
            "three levels below; name the folder that holds dfdc_train_part_N, test or the preview"
        )
    tests = {}  # folder of a labels.csv -> the metadata.json that belongs to it
    for file in files[LABELS]:
        here = file.parent
        near = [place / METADATA for place in (here, here / "videos", here / "test")]
        tests[here] = [other for other in near if other in files[METADATA]]
    used = {file for group in tests.values() for file in group}
    for here, others in tests.items():
        _add_test(catalogue, here, here / LABELS, others)
    for file in files[METADATA]:
        if file in used:
            continue
        if _is_test(file, folder):
            _add_test(catalogue, file.parent, None, [file])
        else:
            _add_part(catalogue, file)
    for file in files[PREVIEW]:
        _add_preview(catalogue, file)
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


def _is_test(metadata: pathlib.Path, folder: pathlib.Path) -> bool:
    """Whether a metadata.json without labels.csv is the test videos'."""
    if PART.fullmatch(metadata.parent.name):
        return False
    said = {value.get("split") for value in _object(metadata).values() if isinstance(value, dict)}
    folders = (folder.name, *metadata.parent.relative_to(folder).parts)
    return "test" in said or ("train" not in said and "test" in map(str.lower, folders))


def _add_part(catalogue: Catalogue, file: pathlib.Path) -> None:
    here = file.parent
    entries = {name: _entry(file, name, value) for name, value in _object(file).items()}
    videos = catalogue.videos(here, here / "videos")
    numbered = PART.fullmatch(here.name)
    part = f"dfdc_train_part_{numbered[1]}" if numbered else here.name
    held_out = numbered is not None and int(numbered[1]) in VALIDATION_PARTS
    _add(catalogue, part, "validation" if held_out else "train", file, entries, videos)


def _add_test(
    catalogue: Catalogue,
    here: pathlib.Path,
    labels: pathlib.Path | None,
    metadata: list[pathlib.Path],
) -> None:
    entries: dict[str, tuple[int | None, str]] = {}
    for file in metadata:
        needs_label = labels is None
        for name, value in _object(file).items():
            entries[name] = _entry(file, name, value, needs_label=needs_label)
    if labels is not None:
        listed = _read_labels(labels)
        for name, label in listed.items():
            other, original = entries.get(name, (None, ""))
            if other not in (None, label):
                raise UserError(f"{labels}: {name} has label {label}, {metadata[0]} says {other}")
            entries[name] = (label, original)
        entries = {name: entries[name] for name in entries if name in listed}
    videos = catalogue.videos(here / "videos", here, here / "test" / "videos", here / "test")
    _add(catalogue, "test", "test", labels or metadata[0], entries, videos)


def _add(
    catalogue: Catalogue,
    part: str,
    split: str,
    file: pathlib.Path,
    entries: dict[str, tuple[int | None, str]],
    videos: dict[str, pathlib.Path],
) -> None:
    list_name = catalogue.name(file)
    listed = {listed_path(name, str(file)).stem: entry for name, entry in entries.items()}
    if len(listed) != len(entries):
        raise UserError(f"{file}: two videos differ in their extensions only; keep one of them")
    absent = set()
    for stem, (label, original) in listed.items():
        path = videos.get(stem)
        if path is None:
            catalogue.miss(f"{part}/{stem}: listed in {list_name} and not there")
            continue
        source = listed_path(original, str(file)).stem if label and original else stem
        if source not in videos:
            absent.add(source)
        catalogue.add(
            Medium(
                id=f"{part}/{stem}",
                path=path,
                split=split,
                label=int(bool(label)),
                dataset=DATASET,
                method="fake" if label else "real",
                source=f"{part}/{source}",
                group=f"{part}/{source}",
            )
        )
    for source in sorted(absent - listed.keys()):
        catalogue.miss(f"{part}/{source}: the original of fakes in {list_name} and not there")
    catalogue.unlisted((path for stem, path in videos.items() if stem not in listed), list_name)


def _add_preview(catalogue: Catalogue, file: pathlib.Path) -> None:
    entries = {}
    for name, value in _object(file).items():
        label, _ = _entry(file, name, value)
        split = value.get("set")
        if split not in ("train", "test"):
            raise UserError(f"{file}: {name}: set is {split!r} and not train or test; correct it")
        entries[listed_path(name, f"{file}: {name}")] = (label, split, value.get("target_id"))
    originals = {path.stem: path for path, (label, _, _) in entries.items() if not label}
    for path, (label, split, target) in entries.items():
        there = file.parent / path
        if not os.path.isfile(there):
            name = path.with_suffix("")
            catalogue.miss(f"preview/{name}: listed in {catalogue.name(file)} and not there")
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


def _entry(
    file: pathlib.Path, name: str, value: Any, *, needs_label: bool = True
) -> tuple[int | None, str]:
    """Label and original of a video; None and "" where they are not told."""
    if not isinstance(value, dict):
        raise UserError(f'{file}: {name} is not an object like {{"label": "FAKE"}}; correct it')
    labels = {"REAL": 0, "FAKE": 1, "0": 0, "1": 1, "FALSE": 0, "TRUE": 1}
    text = str(value.get("label", value.get("is_fake", "")))
    label = labels.get(text.upper())
    if label is None and (needs_label or text):
        raise UserError(f"{file}: {name}: label {text!r} is neither REAL nor FAKE; correct it")
    original = value.get("original")
    return label, original if isinstance(original, str) else ""


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
                raise UserError(f"{place}: {line!r} is not a video and 0 (real) or 1 (fake)")
            if cells[0] in labels:
                raise UserError(f"{place}: {cells[0]} is there twice; keep one of the two")
            labels[cells[0]] = int(cells[1])
    except csv.Error as error:
        raise UserError(f"{file}:{reader.line_num}: {error}; correct it") from None
    return labels
