"""The folder layouts, label files and splits of the benchmarks, one file each; and tables.

To add one, write a file with `find(folder) -> Benchmark` and name it in `BENCHMARKS`
(docs/adding_a_benchmark.md shows one).
"""

import dataclasses
import pathlib
from collections.abc import Callable

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks import (
    celeb_df,
    df40,
    dfdc,
    faceforensics,
    folder,
    forgerynet,
    media_table,
    wilddeepfake,
)
from rffr_jax.faces.media import Benchmark

FOLDER, TABLE = "folder", "table"
OWN = (FOLDER, TABLE)
"""Of the user's own files, which may all be real."""
BENCHMARKS: dict[str, Callable[..., Benchmark]] = {
    "faceforensics": faceforensics.find,
    "celeb_df": celeb_df.find,
    "dfdc": dfdc.find,
    "forgerynet": forgerynet.find,
    "wilddeepfake": wilddeepfake.find,
    "df40": df40.find,
    FOLDER: folder.find,
    TABLE: media_table.find,
}


def find_media(
    name: str,
    root: pathlib.Path,
    *,
    compression: str | None = None,
    splits: pathlib.Path | None = None,
    all_real: bool = False,
    frame_folders: bool = False,
) -> Benchmark:
    """The videos and photographs of a benchmark, with labels, splits and origins.

    Args:
      name: one of `BENCHMARKS`.
      root: the benchmark as it was downloaded, or the user's own files; of `table` the CSV file.
      compression: of FaceForensics++ (`raw`, `c23` or `c40`); None takes `c23`.
      splits: folder of the split lists of FaceForensics++; None looks beside the data.
      all_real: for `folder`: every file is real, whatever its folders are called.
      frame_folders: for `folder`: a folder with images is one video.

    Raises:
      UserError: an unknown name, an option that the benchmark does not have, a folder that is
        missing or not laid out as the benchmark, a label file that cannot be read or contradicts
        another, nothing to take; a benchmark without reals or without fakes.
    """
    if name not in BENCHMARKS:
        raise UserError(f"--benchmark {name!r} is not known; give one of {', '.join(BENCHMARKS)}")
    if name != "faceforensics":
        for option, value in (("--compression", compression), ("--splits", splits)):
            if value is not None:
                raise UserError(
                    f"{option} {value} does not go with --benchmark {name}; "
                    "it is for faceforensics, leave it out"
                )
    for option, value in (("--all-real", all_real), ("--frame-folders", frame_folders)):
        if value and name != FOLDER:
            raise UserError(f"{option} does not go with --benchmark {name}; leave it out")
    if name == TABLE and not root.is_file():
        problem = "is a folder" if root.is_dir() else "does not exist"
        raise UserError(f"--input {root}: {problem}; name a table like media.csv")
    if name != TABLE and not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"--input {root}: {problem}; name the folder of {name}")
    # Its name tells splits, and `.` has none; `..` is followed as the system follows it.
    root = root.resolve() if ".." in root.parts else root.absolute()
    options = {
        "faceforensics": {"compression": compression, "splits": splits},
        FOLDER: {"all_real": all_real, "frame_folders": frame_folders},
    }
    found = BENCHMARKS[name](root, **options.get(name, {}))
    if not found.media:
        first = f", the first: {found.missing[0]}" if found.missing else ""
        raise UserError(
            f"--input {root}: no video or image of {name} can be taken, "
            f"{len(found.missing)} are missing or left out{first}; name the folder that holds them"
        )
    return found if name in OWN else _check_labels(found, f"--input {root}", name)


def _check_labels(found: Benchmark, where: str, name: str) -> Benchmark:
    """Notes the data sets that have reals or fakes only; raises UserError where all are so."""
    labels: dict[str, set[int]] = {}
    for medium in found.media:
        labels.setdefault(medium.dataset, set()).add(medium.label)
    lacking = {
        dataset: "reals" if there == {1} else "fakes"
        for dataset, there in sorted(labels.items())
        if len(there) == 1
    }
    if len(set().union(*labels.values())) == 1:
        raise UserError(
            f"{where}: there are {len(found.media)} media of {name} and no "
            f"{next(iter(lacking.values()))} among them; complete the download, or list what you "
            f"want in --benchmark {TABLE}"
        )
    notes = [f"{dataset}: there are no {what} of it" for dataset, what in lacking.items()]
    return dataclasses.replace(found, notes=(*notes, *found.notes))
