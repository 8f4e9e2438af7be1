"""The user's own videos and photographs, labelled by folders.

    [SPLIT/]real/...            label 0
    [SPLIT/]fake/METHOD/...     label 1, method METHOD; "fake" for files directly in fake/

SPLIT is train, validation (or val) or test. With any of these at the top all files must lie in
them; without them everything is `train`, since only the user knows which files show one person.
Without real/ and fake/ every file is real, unless the name of a folder says otherwise. Letters may
be of any case. Nothing tells which original a fake was made from, so every file is its own source.
With `frame_folders` a folder that holds images is a video of these frames.
Hidden files are left out, and so is what does not end like a video or an image, which is counted;
links are followed unless they lead back to a folder above.
"""

import logging
import os
import pathlib

from rffr_jax.data.readers.fake_folders import refuse_fake_folders
from rffr_jax.data.readers.folder import LABELS, default_dataset_name, label_by_folders
from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks.catalogue import Catalogue
from rffr_jax.faces.frame_folder import list_frames
from rffr_jax.faces.media import SPLIT_NAMES, Benchmark, Medium
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

log = logging.getLogger(__name__)


def find(folder: pathlib.Path, *, all_real: bool = False, frame_folders: bool = False) -> Benchmark:
    """All videos and images below the folder; ids are their paths in it, with their extensions.

    Args:
      folder: the user's own files.
      all_real: every file is real, whatever the folders below `folder` are called.
      frame_folders: a folder with images is one video, whose id is its path.

    Raises:
      UserError: nothing to take; files beside the split folders or beside real/ and fake/; real/
        and fake/ deeper than that; a folder whose name says that its files are fake; or `all_real`
        contradicts a fake/ that gives labels.
    """
    catalogue = Catalogue(folder)
    found = _below(catalogue, folder, ())
    if frame_folders:
        found = _join_frames(catalogue, folder, found)
    paths = [path.relative_to(folder) for path in found]
    if not paths:
        left_out = catalogue.benchmark().left_out
        raise UserError(
            f"--input {folder}: no videos or images in it or below; name a folder of files that "
            f"end in {' '.join((*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS))}"
            + (f" ({left_out})" if left_out.counts else "")
        )
    has_splits = any(len(p.parts) > 1 and p.parts[0].lower() in SPLIT_NAMES for p in paths)
    tails = {path: path.parts[has_splits:] for path in paths}
    tops = {tail[0].lower() for tail in tails.values() if len(tail) > 1}
    has_labels = not tops.isdisjoint(LABELS)
    if all_real and "fake" in tops:
        raise UserError(
            f"--input {folder}: fake/ in it says which files are fake; leave out --all-real"
        )
    if not has_labels and not all_real:
        _refuse_fakes(folder, tails)
    for path, tail in tails.items():
        if has_splits and (not tail or path.parts[0].lower() not in SPLIT_NAMES):
            raise UserError(f"--input {folder}: {path} lies outside of {_FOLDERS}; move it there")
        label, method = 0, "real"
        if has_labels and not all_real:
            label, method = label_by_folders(f"--input {folder}", path, tail)
        id_ = path.as_posix()
        catalogue.add(
            Medium(
                id=id_,
                path=folder / path,
                split=SPLIT_NAMES[path.parts[0].lower()] if has_splits else "train",
                label=label,
                dataset=default_dataset_name(folder),
                method=method,
                source=id_,
            )
        )
    if not has_labels or all_real:
        log.info("--input %s: all %d files are taken as REAL", folder, len(paths))
    return catalogue.benchmark()


_FOLDERS = "the split folders train, validation (or val) and test"


def _below(
    catalogue: Catalogue, folder: pathlib.Path, above: tuple[pathlib.Path, ...]
) -> list[pathlib.Path]:
    real = folder.resolve()
    if real in above:
        return []
    found = []
    for path in catalogue.entries(folder):
        if os.path.isdir(path):
            found += _below(catalogue, path, (*above, real))
        elif path.suffix.lower() in (*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS):
            found.append(path)
        else:
            catalogue.pass_over(path)
    return found


def _join_frames(
    catalogue: Catalogue, root: pathlib.Path, paths: list[pathlib.Path]
) -> list[pathlib.Path]:
    """The videos, and the folders of the images instead of these."""
    images = [path for path in paths if path.suffix.lower() in IMAGE_EXTENSIONS]
    folders = {path.parent for path in images}
    if root in folders:
        raise UserError(
            f"--input {root}: images lie in it directly, and with --frame-folders each folder of "
            "images is a video; put them into a folder"
        )
    for folder in sorted(folders):
        catalogue.note_gaps(catalogue.name(folder), list_frames(folder))
    return sorted(folders.union(paths) - set(images))


def _refuse_fakes(folder: pathlib.Path, tails: dict[pathlib.Path, tuple[str, ...]]):
    for path, tail in tails.items():
        for part in tail[:-1]:
            if part.lower() in LABELS:
                raise UserError(
                    f"--input {folder}: {path}: {part}/ lies deeper than in the folder itself or "
                    "in a split folder; name the folder that holds it, or add --all-real if all "
                    "files are real"
                )
    refuse_fake_folders(f"--input {folder}", tails, "add --all-real")
