"""The recipes of `configs/recipes/`: each runs, and that of 112 px is the box's."""

import importlib
import pathlib
import sys
import types

import pytest

from rffr_jax.main import JOBS, run
from rffr_jax.runs.model_folder import read_config
from tests import jobs

BOX = pathlib.Path(__file__).parents[1] / "pretrained/rffr_jax_pretrained"
SIZES = ("64", "112", "224")


def recipe(name, size):
    return importlib.import_module(f"configs.recipes.{name}").get_config(size)


def test_the_models_in_the_box_are_those_of_112_px():
    about = read_config(BOX / "detector", "detector")["about"]
    config = recipe("pretrain", "112")
    assert config.model.to_dict() == about["detection"]["mae"]
    card = (BOX / "detector/README.md").read_text()
    assert f"{config.steps:,} steps of {config.batch_size} images: eight of the 16" in card
    config, there = recipe("detect", "112"), about["detection"]
    assert config.model.to_dict() == there["model"]
    for name in ("k", "alpha", "blocks_per_pass"):
        assert config.blocks[name] == there[name]
    for name in ("inputs", "blocks", "residual", "embedding"):
        assert config.detector[name] == there[name]
    assert (config.detector.patch_loss > 0) == there["patch_head"]
    assert config.steps == about["progress"]["step"]
    assert config.steps * config.batch_size == about["progress"]["images_seen"]


def test_a_mae_that_is_named_starts_the_branches_too():
    config = recipe("detect", "64")
    config.mae = "elsewhere"
    assert config.detector.init == "elsewhere"


def test_fine_tuning_asks_for_faces_and_has_a_folder_of_its_own(capsys, monkeypatch):
    started = []
    job = types.SimpleNamespace(run=lambda config, workdir: started.append(workdir))
    monkeypatch.setitem(sys.modules, JOBS["detect"], job)
    flags = (f"--config={jobs.CONFIGS}/recipes/fine_tune.py", f"--config.init_from={BOX}/detector")
    assert run(["rffr-jax", *flags]) == 2
    assert "name your faces with --config.data.train=folder:DIR" in capsys.readouterr().err
    assert run(["rffr-jax", *flags, "--config.data.train=folder:mine"]) == 0
    assert started == [pathlib.Path("runs/fine_tune")]


def test_an_unknown_size_is_one_line(capsys):
    assert run(["rffr-jax", f"--config={jobs.CONFIGS}/recipes/pretrain.py:65"]) == 2
    assert "one of 64, 112, 224" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_each_size_trains_a_few_steps(tmp_path, size):
    small = [flag for flag in jobs.TRAINING if not flag.startswith("--config.steps")]
    drawn = (
        "--config.data.train=synthetic:0#train?limit=80",
        "--config.data.validation=synthetic:0#validation?limit=8",
        *("--config.data.workers=0", "--config.steps=6", "--config.blocks.k=4"),
        "--config.optimizer.warmup_steps=1",
    )
    for name, more in (("pretrain", ()), ("detect", (f"--config.mae={tmp_path}/pretrain",))):
        flags = (*small, *drawn, *more) + (("--config.blocks.group=4",) if more else ())
        config = f"--config={jobs.CONFIGS}/recipes/{name}.py:{size}"
        assert run(["rffr-jax", config, f"--workdir={tmp_path / name}", *flags]) == 0
