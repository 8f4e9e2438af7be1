"""Records of the originals that a run was trained on, so that a test can find overlaps."""

import pathlib
from collections.abc import Mapping, Sequence

from rffr_jax.cluster import processes
from rffr_jax.data.image_hashes import ImageHashes
from rffr_jax.data.origins import Origins
from rffr_jax.examples import Dataset
from rffr_jax.runs.atomic_files import write_json
from rffr_jax.runs.checkpoints.names import FROZEN, LATEST
from rffr_jax.runs.workdir import has_saved_state

TRAINING = "training_sources.json"
MAE = "mae_training_sources.json"
VALIDATION = "validation_sources.json"
IMAGES = {TRAINING: "training_images.npz", MAE: "mae_training_images.npz"}
"""The hashes of the images beside each record of originals."""


def write_training_sources(workdir: pathlib.Path, dataset: Dataset, earlier: Origins):
    """Writes training_sources.json: the originals of the data and of the initial weights."""
    _write(workdir, TRAINING, Origins.from_examples(dataset.examples).union(earlier))


def write_mae_sources(workdir: pathlib.Path, origins: Origins):
    """Writes mae_training_sources.json: the originals of a detector's MAE or UNet."""
    _write(workdir, MAE, origins)


def write_validation_sources(workdir: pathlib.Path, sets: Mapping[str, Dataset]):
    """Writes validation_sources.json: the originals that the best weights were chosen on."""
    origins = (Origins.from_examples(dataset.examples) for dataset in sets.values())
    _write(workdir, VALIDATION, Origins().union(*origins))


def read_sources(folder: pathlib.Path) -> Origins:
    """The record in a pretraining's workdir, or of a checkpoint in it; none where none is."""
    return Origins.load(_record_of(folder))


def _record_of(folder: pathlib.Path) -> pathlib.Path:
    places = {LATEST.parts: TRAINING, **{frozen.parts: MAE for frozen in FROZEN.values()}}
    inside = folder.absolute().parts[-2:]
    return folder.parent.parent / places[inside] if inside in places else folder / TRAINING


def write_training_images(workdir: pathlib.Path, hashes: ImageHashes):
    """Adds images to training_images.npz, at a save; all processes come by here together."""
    everywhere = processes.all_gather_objects(hashes.distinct().to_json())
    if processes.is_main_process():
        file = workdir / IMAGES[TRAINING]
        ImageHashes.load(file).distinct(*map(ImageHashes.from_json, everywhere)).save(file)


def start_image_records(
    workdir: pathlib.Path,
    pretrained: Sequence[pathlib.Path] = (),
    earlier: pathlib.Path | None = None,
):
    """Leaves no images of a run that never began; records those that its first weights have seen.

    Args:
      pretrained: the MAE or UNet and the initial weights that the config names.
      earlier: the detector that is trained further; None without one.
    """
    if has_saved_state(workdir) or not processes.is_main_process():
        return
    for name in IMAGES.values():
        (workdir / name).unlink(missing_ok=True)
    for folders, name in ((pretrained, MAE), ([earlier] if earlier else [], TRAINING)):
        records = [_record_of(folder) for folder in folders]
        files = [record.with_name(IMAGES[record.name]) for record in records]
        known = [ImageHashes.load(file) for file in files if file.is_file()]
        if known:
            known[0].distinct(*known[1:]).save(workdir / IMAGES[name])


def _write(workdir: pathlib.Path, name: str, origins: Origins):
    """Writes a record in the main process; a run that resumes extends its record."""
    if not processes.is_main_process():
        return
    file = workdir / name
    if has_saved_state(workdir):
        origins = origins.union(Origins.load(file))
    if origins != Origins():
        write_json(file, origins.to_json())
    else:
        file.unlink(missing_ok=True)  # left by a run that never began
