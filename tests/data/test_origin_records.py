"""What is known of the originals that a run has learnt from."""

import json

import pytest

from rffr_jax.data.origin_records import (
    read_sources,
    write_mae_sources,
    write_training_sources,
    write_validation_sources,
)
from rffr_jax.data.origins import FILES, Origins
from rffr_jax.data.specs import load_dataset
from tests import jobs

LATEST = "checkpoints/latest"


def origins(*names: str, dataset: str = "a") -> Origins:
    return Origins(frozenset((dataset, name) for name in names))


def test_sources_are_found_from_the_workdir_and_its_checkpoints(tmp_path, faces):
    dataset = load_dataset(f"csv:{faces}/train.csv")
    write_training_sources(tmp_path, dataset, earlier=origins("x", dataset="before"))
    there = read_sources(tmp_path)
    assert there.sources == {("before", "x"), *(("faces", f"train/real{i}") for i in range(6))}
    assert len(there.files) == 18
    assert read_sources(tmp_path / LATEST) == there
    assert read_sources(tmp_path / "checkpoints/mae") == Origins()
    write_mae_sources(tmp_path, origins("y"))
    assert read_sources(tmp_path / "checkpoints/mae") == origins("y")
    assert read_sources(tmp_path / "elsewhere") == Origins()


def test_all_validation_sets_are_recorded(tmp_path, faces):
    sets = {split: load_dataset(f"csv:{faces}/{split}.csv") for split in ("validation", "test")}
    write_validation_sources(tmp_path, sets)
    record = json.loads((tmp_path / "validation_sources.json").read_text())
    assert record["faces"] == [
        f"{split}/real{i}" for split in ("test", "validation") for i in range(6)
    ]
    assert len(record[FILES]) == 36


def test_a_detector_records_what_its_best_weights_were_chosen_on(detector):
    record = json.loads((detector / "validation_sources.json").read_text())
    assert record["faces"] == [f"validation/real{i}" for i in range(6)]


def test_only_a_run_that_goes_on_adds_to_its_record(tmp_path):
    file = tmp_path / "mae_training_sources.json"
    write_mae_sources(tmp_path, origins("1"))
    write_mae_sources(tmp_path, origins("2"))
    assert Origins.load(file) == origins("2")
    write_mae_sources(tmp_path, Origins())
    assert not file.exists()
    write_mae_sources(tmp_path, origins("1"))
    (tmp_path / LATEST / "4").mkdir(parents=True)
    write_mae_sources(tmp_path, Origins())
    assert Origins.load(file) == origins("1")
    write_mae_sources(tmp_path, origins("2"))
    assert Origins.load(file) == origins("1", "2")


@pytest.mark.slow
def test_a_mae_hands_on_what_its_first_weights_had_seen(tmp_path, mae, faces):
    specs = [f"data.{split}=csv:{faces}/validation.csv" for split in ("train", "validation")]
    assert jobs.start("pretrain", tmp_path, *specs, f"init_from={mae}", "steps=2") == 0
    names = [f"{split}/real{i}" for split in ("train", "validation") for i in range(6)]
    assert read_sources(tmp_path).sources == {("faces", name) for name in names}
