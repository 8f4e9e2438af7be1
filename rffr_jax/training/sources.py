"""Which originals a run has learnt from, so that a test can tell if it holds one of them."""

import pathlib
from collections.abc import Mapping

from rffr_jax.cluster import processes
from rffr_jax.data.origins import Origins
from rffr_jax.examples import Dataset
from rffr_jax.runs.atomic_files import read_json_object, write_json
from rffr_jax.runs.checkpoints.weights import FROZEN, LATEST
from rffr_jax.runs.workdir import has_saved_state

Sources = dict[str, list[str]]
"""What `Origins.to_json` makes; `Origins.from_json` reads it."""

TRAINING = "training_sources.json"
MAE = "mae_training_sources.json"
VALIDATION = "validation_sources.json"


def write_training_sources(workdir: pathlib.Path, dataset: Dataset, earlier: Sources):
    """Writes training_sources.json: what is trained on, and what the first weights had seen."""
    _write(workdir, TRAINING, merge_sources(Origins.of(dataset.examples).to_json(), earlier))


def write_mae_sources(workdir: pathlib.Path, sources: Sources):
    """Writes mae_training_sources.json: what a detector's MAE or UNet was pretrained on."""
    _write(workdir, MAE, sources)


def write_validation_sources(workdir: pathlib.Path, sets: Mapping[str, Dataset]):
    """Writes validation_sources.json: what the best weights of a detector were chosen on."""
    origins = (Origins.of(dataset.examples).to_json() for dataset in sets.values())
    _write(workdir, VALIDATION, merge_sources(*origins))


def read_sources(folder: pathlib.Path) -> Sources:
    """What a pretraining's workdir, or a checkpoint in it, says; nothing where nothing is said."""
    places = {LATEST.parts: TRAINING, **{frozen.parts: MAE for frozen in FROZEN.values()}}
    inside = folder.absolute().parts[-2:]
    file = folder.parent.parent / places[inside] if inside in places else folder / TRAINING
    return read_json_object(file) if file.exists() else {}


def merge_sources(*records: Mapping[str, list[str]]) -> Sources:
    """The origins of all records."""
    parts = sorted({part for record in records for part in record})
    return {
        part: sorted({name for record in records for name in record.get(part, ())})
        for part in parts
    }


def _write(workdir: pathlib.Path, name: str, sources: Sources):
    """Writes a record; a run that goes on adds to what it had. Process 0 alone does."""
    if not processes.is_main_process():
        return
    file = workdir / name
    if has_saved_state(workdir) and file.exists():
        sources = merge_sources(sources, read_json_object(file))
    if sources:
        write_json(file, sources)
    else:
        file.unlink(missing_ok=True)  # left by a run that never began
