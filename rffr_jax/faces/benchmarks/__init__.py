"""The folder layouts, label files and splits of the benchmarks, one file each."""

import pathlib

from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks import celeb_df, dfdc, faceforensics, forgerynet
from rffr_jax.faces.benchmarks import folder as own_folder
from rffr_jax.faces.media import Benchmark

NAMES = ("faceforensics", "celeb_df", "dfdc", "forgerynet", "folder")


def find_media(
    name: str,
    folder: pathlib.Path,
    *,
    compression: str | None = None,
    splits: pathlib.Path | None = None,
    all_real: bool = False,
) -> Benchmark:
    """The videos and photographs of a benchmark, with labels, splits and origins.

    Args:
      name: one of `NAMES`.
      folder: the benchmark as it was downloaded, or the user's own files.
      compression: of FaceForensics++ (`raw`, `c23` or `c40`); None takes `c23`.
      splits: folder of the split lists of FaceForensics++; None looks beside the data.
      all_real: for `folder`: every file is real, whatever its folders are called.

    Raises:
      UserError: an unknown name, an option that the benchmark does not have, a folder that is
        missing or not laid out as the benchmark, a label file that cannot be read or contradicts
        another, nothing to take.
    """
    if name not in NAMES:
        raise UserError(f"--benchmark {name!r} is not known; one of {', '.join(NAMES)}")
    if name != "faceforensics":
        for option, value in (("--compression", compression), ("--splits", splits)):
            if value is not None:
                raise UserError(
                    f"{option} {value} does not go with --benchmark {name}; "
                    "it is for faceforensics, leave it out"
                )
    if all_real and name != "folder":
        raise UserError(f"--all-real does not go with --benchmark {name}; it is for folder")
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"--input {folder}: {problem}; name the folder of {name}")
    # Its name tells splits, and `.` has none; `..` is followed as the system follows it.
    folder = folder.resolve() if ".." in folder.parts else folder.absolute()
    if name == "faceforensics":
        found = faceforensics.find(folder, compression=compression, splits=splits)
    elif name == "celeb_df":
        found = celeb_df.find(folder)
    elif name == "dfdc":
        found = dfdc.find(folder)
    elif name == "forgerynet":
        found = forgerynet.find(folder)
    else:
        found = own_folder.find(folder, all_real=all_real)
    if not found.media:
        first = f", the first: {found.missing[0]}" if found.missing else ""
        raise UserError(
            f"--input {folder}: no video or image of {name} can be taken; "
            f"{len(found.missing)} are missing or left out{first}"
        )
    return found
