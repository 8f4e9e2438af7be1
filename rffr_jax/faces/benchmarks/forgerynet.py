"""ForgeryNet's images, by their lists.

    Training/image_list.txt      Training/image/...
    Validation/image_list.txt    Validation/image/...

A line is `<image> <binary> <triple> <16-class>`; a first line of names is passed over. The 16-class
label decides: 0 is real, 1 to 15 are the methods `forgery_01` to `forgery_15`.

Copies of ForgeryNet differ, so this is assumed, and an error says where it does not hold:

- binary 0 is real (a line where binary and 16-class disagree is an error);
- a list is a `.txt` whose name holds `list` and none of `video`, `local` and `mask` (where some
  hold `image` too, only those), in the folder, in a folder of a split or one level deeper;
- the split is that of the folder or, in the folder itself, the word that the list's name begins
  with: Training or train, Validation or val, Test, in any case of letters;
- images lie in `image` or `images` of the split's folder, in it, beside the list, or in the folder;
- files `frameNNNNN` of one folder are frames of one video, hence one group; any other image is its
  own group.

Nothing tells which original a fake was made from, so every image is its own source. Validation is
what the field reports results on where it has no labels of the test images.
"""

import os
import pathlib
import re

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks.catalogue import Catalogue
from rffr_jax.faces.media import SPLIT_NAMES, Benchmark, Medium
from rffr_jax.runs.text_files import read_lines

DATASET = "ForgeryNet"
FOLDERS = {"training": "train", **SPLIT_NAMES}


def find(folder: pathlib.Path) -> Benchmark:
    """The images that are there and listed; ids are the lists' paths without extension.

    Raises:
      UserError: no lists, or a line that cannot be read.
    """
    catalogue = Catalogue(folder)
    lists = _find_lists(catalogue)
    if not lists:
        raise UserError(
            f"--input {folder}: not ForgeryNet: no lists like Training/image_list.txt or "
            "train_list.txt; name the folder that holds Training and Validation"
        )
    for file, split, split_folder in lists:
        places = [split_folder / "image", split_folder / "images", split_folder]
        places += [file.parent, folder]
        for place, line in read_lines(file):
            cells = line.rsplit(maxsplit=3)
            if len(cells) == 4 and place.endswith(":1") and "label" in cells[-1]:
                continue
            _add(catalogue, place, cells, split, places)
    return catalogue.benchmark()


def _find_lists(catalogue: Catalogue) -> list[tuple[pathlib.Path, str, pathlib.Path]]:
    """Every list with its split and the folder of that split."""
    found = []
    for path in catalogue.entries(catalogue.folder):
        if path.name.lower() in FOLDERS and os.path.isdir(path):
            split = FOLDERS[path.name.lower()]
            for inner in catalogue.entries(path):
                deeper = catalogue.entries(inner) if os.path.isdir(inner) else [inner]
                found += [(file, split, path) for file in deeper if _is_list(file)]
        elif _is_list(path):
            word = re.match("[a-z]*", path.name.lower())
            if word and word[0] in FOLDERS:
                split = FOLDERS[word[0]]
                found.append((path, split, _split_folder(catalogue.folder, split)))
    of_images = [entry for entry in found if "image" in entry[0].name.lower()]
    return of_images or found


def _is_list(path: pathlib.Path) -> bool:
    name = path.name.lower()
    others = any(word in name for word in ("video", "local", "mask"))
    return name.endswith(".txt") and "list" in name and not others


def _split_folder(folder: pathlib.Path, split: str) -> pathlib.Path:
    names = [name for name, meaning in FOLDERS.items() if meaning == split]
    inside = [
        path for path in folder.iterdir() if path.name.lower() in names and os.path.isdir(path)
    ]
    return min(inside, default=folder)


def _add(
    catalogue: Catalogue, place: str, cells: list[str], split: str, places: list[pathlib.Path]
) -> None:
    numbers = [int(cell) for cell in cells[1:] if cell.isascii() and cell.isdigit()]
    if len(numbers) != 3 or numbers[2] > 15:
        raise UserError(
            f"{place}: {' '.join(cells)!r} is not an image and its binary, triple and 16-class "
            "label; correct it"
        )
    binary, _, label = numbers
    if (binary == 0) != (label == 0):
        raise UserError(
            f"{place}: binary label {binary} and 16-class label {label} disagree; "
            "0 is real in both, correct it"
        )
    image = catalogue.listed_path(cells[0], place)
    if image is None:
        return
    hit = next((n for n, p in enumerate(places) if os.path.isfile(p / image)), None)
    id_ = image.with_suffix("").as_posix()
    if hit is None:
        catalogue.absent(id_, split, f"listed at {place}")
        return
    places.insert(0, places.pop(hit))  # where the next ones are likely to be
    frames = re.fullmatch(r"frame\d+", image.stem) and len(image.parts) > 1
    catalogue.add(
        Medium(
            id=id_,
            path=places[0] / image,
            split=split,
            label=int(label != 0),
            dataset=DATASET,
            method=f"forgery_{label:02d}" if label else "real",
            source=id_,
            group=image.parent.as_posix() if frames else "",
        )
    )
