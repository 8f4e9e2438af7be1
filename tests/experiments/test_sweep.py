"""Sweeps: a run for each combination of values, and one table of them."""

import csv

import pytest

from configs import detect, pretrain
from rffr_jax.errors import UserError
from rffr_jax.experiments import dry_run, sweep
from rffr_jax.main import run
from rffr_jax.runs.run_record import RECORD
from tests.jobs import CONFIGS, FIXED


def config_of(module, text):
    config = module.get_config()
    config.sweep = text
    return config


def test_every_combination_is_a_run_with_values_read_as_flags(tmp_path):
    config = config_of(detect, "blocks.alpha=2,4; detector.inputs=both,residual;remat=true")
    runs = sweep.list_sweep(config, tmp_path)
    values = [(r.config.blocks.alpha, r.config.detector.inputs, r.config.remat) for r in runs]
    alphas, inputs = (2.0, 4.0), ("both", "residual")
    assert values == [(alpha, one, True) for alpha in alphas for one in inputs]
    assert len({r.folder for r in runs}) == len({r.key for r in runs}) == 4
    assert runs[0].folder.name == "blocks.alpha=2,detector.inputs=both,remat=true"
    assert {r.config.sweep for r in runs} == {""}
    assert config.blocks.alpha == 4.0


def test_settings_that_follow_others_follow_each_value(tmp_path):
    runs = sweep.list_sweep(config_of(pretrain, "steps=100,500"), tmp_path)
    assert [r.config.optimizer.warmup_steps for r in runs] == [10, 50]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alpha=2", "no setting 'alpha'"),
        ("seed", "'seed' has no values"),
        ("seed=1,", "'seed=1,' has no values"),
        ("seed=1;seed=2", "'seed=2' has no values, or is there twice"),
        ("seed=1,1", "two points are the same"),
        ("seed=one", "sweep=seed=one: .*one"),
        ("steps=0", "--config.steps=0; it must be 1 or more"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        sweep.list_sweep(config_of(pretrain, text), tmp_path)


def test_a_dry_run_of_a_sweep_writes_nothing(tmp_path, capsys):
    flags = ["--config.sweep=seed=1,2", f"--workdir={tmp_path / 'sweep'}", "--dry-run"]
    assert run(["rffr_jax", f"--config={CONFIGS}/pretrain.py", *flags]) == 0
    said = capsys.readouterr().out
    assert "2 runs: 0 done, 2 to do; for 2 not known" in said
    assert list(tmp_path.iterdir()) == []
    assert run(["rffr_jax", f"--config={CONFIGS}/pretrain.py", "--dry-run"]) == 2
    assert "--dry-run is for experiments and sweeps" in capsys.readouterr().err


def test_the_time_left_is_that_of_finished_runs_of_the_kind(tmp_path):
    runs = sweep.list_sweep(config_of(pretrain, "steps=100,200;blocks.k=4,2"), tmp_path)
    first = runs[0].folder
    first.mkdir()
    (first / "config.json").write_text(runs[0].config.to_json_best_effort())
    (first / RECORD).write_text('{"state": "done", "done": true, "seconds": 30.0}')
    said = dry_run.describe_plan(runs, dry_run.find_runs(tmp_path), tmp_path)
    seconds = [line.split("|")[6].strip() for line in said.splitlines()[2:6]]
    assert seconds == ["30", "not known", "about 60", "not known"]
    assert "4 runs: 1 done, 3 to do; about 60 s (0.0 h), one after another, for 1 of them" in said


@pytest.mark.slow
def test_a_sweep_trains_and_shows_one_table(tmp_path, capsys):
    command = ["rffr_jax", f"--config={CONFIGS}/pretrain.py", *FIXED["pretrain"]]
    command += ["--config.sweep=mask.kind=block,random", f"--workdir={tmp_path}"]
    command += ["--config.data.train=('synthetic:0#train?limit=8',)", "--config.data.workers=0"]
    command += ["--config.data.validation=('synthetic:0#validation?limit=8',)"]
    for _ in range(2):
        assert run(command) == 0
        lines = list(csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines()))
        assert [line["settings"] for line in lines] == ["mask.kind=block", "mask.kind=random"]
        assert [(line["state"], line["step"]) for line in lines] == [("done", "4")] * 2
        assert all(float(line["validation_loss"]) > 0 for line in lines)
        assert "mask.kind=random" in capsys.readouterr().out
        times = [(tmp_path / line["run"] / RECORD).stat().st_mtime_ns for line in lines]
    assert len(times) == 2
