"""The command line: flags, exit codes, and the files that each job promises."""

import json
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

from rffr_jax import main
from rffr_jax.config import check_config
from rffr_jax.errors import UserError
from tests import jobs

ROOT = pathlib.Path(__file__).parent.parent
PRETRAIN = f"--config={jobs.CONFIGS}/pretrain.py"
PREDICT = f"--config={jobs.CONFIGS}/predict.py"
QUICKSTART = f"--config={jobs.CONFIGS}/quickstart.py"


def run(*flags):
    return main.run(["rffr_jax", *flags])


def test_help_is_printed_and_loads_no_jax():
    code = (
        "import sys, rffr_jax.main as main;"
        "code = main.run(['rffr_jax', '--help']);"
        "sys.exit(code or 'jax' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert "--config=configs/<job>.py[:variant]" in found.stdout
    assert "Exit codes: 0 done" in found.stdout
    assert found.stderr == ""


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "--config is missing; usage: python -m rffr_jax.main --config="),
        (["--workdri=x"], "Unknown command line flag 'workdri'. Did you mean: workdir"),
        ([PRETRAIN, "--workdri=x"], "'workdri'"),
        ([PRETRAIN, "--steps=5"], "flag 'steps'; did you mean --config.steps?"),
        ([PRETRAIN, "--data.train=x"], "'data.train'; did you mean --config.data.train?"),
        ([PRETRAIN, "--config.step=5"], "no entry 'step'; did you mean --config.steps?"),
        ([PRETRAIN, "--config.modle.size=tiny"], "did you mean --config.model.size?"),
        ([PRETRAIN, "--config.scorers=2"], "'scorers'; `rffr-jax JOB --help` lists the keys"),
        ([PRETRAIN, "--config.steps=many"], "--config.steps=many: it must be a whole number"),
        ([PRETRAIN, "--config.optimizer.b1=x"], "optimizer.b1=x: it must be a number"),
        ([PRETRAIN, "steps=5"], "'steps=5' is not a flag; usage:"),
        (["--config=configs/nothing.py"], "configs/nothing.py"),
        (["--config.steps=5", PRETRAIN], "config.steps"),
        ([PRETRAIN, "--config.job=train"], "job is 'train'; it must be one of pretrain, detect"),
        ([PRETRAIN, "--config.steps=0"], "--config.steps=0; it must be 1 or more"),
        ([PRETRAIN, "--config.seed=-1"], "--config.seed=-1; it must not be negative"),
        ([PRETRAIN, "--workdir=gs://bucket/mae"], "--workdir=gs://bucket/mae: addresses (gs://)"),
        ([PRETRAIN, "--workdir=file:///mae"], "--workdir=file:///mae: addresses (file://)"),
        ([PRETRAIN, "--config.data.train=folder:gs://b/x"], "--config.data.train=folder:gs://b/x:"),
        ([PRETRAIN, "--config.data.train=('synthetic:0','csv:az://b')"], "data.train=csv:az://b:"),
        ([PRETRAIN, "--config.init_from=hdfs://n/w"], "--config.init_from=hdfs://n/w: addresses"),
        ([PREDICT, "--config.inputs=a.png,https://x.org/b.png"], "b.png: addresses (https://) are"),
        ([QUICKSTART, "--config.detect.mae=s3://b/m"], "--config.detect.mae=s3://b/m: addresses"),
        ([PRETRAIN, "--config.data.cache=yes"], "data.cache=yes; it must be auto, True or False"),
        ([PRETRAIN, "--config.data.workers=-1"], "data.workers=-1; it must be auto or 0 or more"),
        ([QUICKSTART, "--config.pretrain.batch_size=0"], "--config.pretrain.batch_size=0; it must"),
        ([QUICKSTART, "--config.detect.optimizer.b2=1.0"], "--config.detect.optimizer.b2=1.0; it"),
        ([QUICKSTART, "--config.evaluate.data.max_bad_fraction=-1.0"], "--config.evaluate.data.m"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(flags, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rffr_jax: ")
    assert expected in line
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_channels_are_checked():
    with pytest.raises(UserError, match=r"detector.mean=\(0.5, 0.5\) needs 3 numbers"):
        check_config({"detector": {"mean": (0.5, 0.5)}})


@pytest.mark.parametrize(
    ("flags", "steps", "warmup"),
    [
        ([], 117_188, 11_718),
        (["--config.steps=1000"], 1000, 100),
        (["--config.batch_size=64"], 234_375, 23_437),
        (["--config.steps=50", "--config.optimizer.warmup_steps=7"], 50, 7),
    ],
)
def test_pretraining_scales_with_what_is_changed(monkeypatch, flags, steps, warmup):
    class Job:
        @staticmethod
        def run(config, workdir):
            assert (config.steps, config.optimizer.warmup_steps) == (steps, warmup)
            written = config.to_dict()
            assert (written["steps"], written["optimizer"]["warmup_steps"]) == (steps, warmup)

    monkeypatch.setitem(sys.modules, main.JOBS["pretrain"], Job)
    assert run(PRETRAIN, *flags) == 0


def test_a_start_without_flags_says_where_and_on_what(monkeypatch, capsys):
    class Job:
        @staticmethod
        def run(config, workdir):
            assert (config.job, workdir) == ("pretrain", pathlib.Path("runs/pretrain"))

    monkeypatch.setattr(main.importlib, "import_module", lambda name: Job)
    assert run(PRETRAIN) == 0
    assert capsys.readouterr().out == (
        "rffr_jax: pretrain in runs/pretrain, data: train synthetic:0#train, "
        "validation synthetic:0#validation\n"
    )


def test_a_defect_keeps_its_traceback(monkeypatch):
    def broken(name):
        raise ZeroDivisionError

    monkeypatch.setattr(main.importlib, "import_module", broken)
    with pytest.raises(ZeroDivisionError):
        run(PRETRAIN)


def assert_training_files(workdir, job, splits):
    config = json.loads((workdir / "config.json").read_text())
    assert (config["job"], config["steps"]) == (job, 4)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {line["split"] for line in lines} == splits
    for line in lines:
        assert isinstance(line["step"], int)
        assert all(isinstance(v, float | int) for k, v in line.items() if k != "split")
    training = [line for line in lines if line["split"] == "train"]
    assert [line["images_seen"] for line in training] == [4, 8, 12, 16]
    for name in ("loss", "learning_rate", *jobs.CLOCKED):
        assert all(name in line for line in training) or name == "mfu"  # not on a CPU
    assert all(line["tflops_per_device"] > 0 for line in training)
    (events,) = (workdir / "tensorboard").iterdir()
    assert events.stat().st_size > 0
    assert jobs.saved_steps(workdir / "checkpoints" / "latest") == [2, 4]


def about(checkpoint):
    return json.loads((checkpoint / "about" / "metadata").read_text())


def test_pretrain_writes_what_it_promises(mae):
    assert_training_files(mae, "pretrain", {"train", "validation", "reconstruction"})
    for step in ("000002", "000004"):
        with Image.open(mae / "samples" / f"{step}.png") as picture:
            assert picture.width > 4 * jobs.SIZE
    known = about(mae / "checkpoints" / "latest" / "4")
    assert (known["kind"], known["k"], known["mask"]["kind"]) == ("mae", 2, "block")
    assert known["model"] == {"size": "tiny", "image_size": 48, "patch_size": 12}
    assert known["input_range"] == [0.0, 1.0]
    assert known["progress"] == {"step": 4, "images_seen": 16}


def test_detect_writes_what_it_promises(detector, mae):
    assert_training_files(detector, "detect", {"train", "faces"})
    best = json.loads((detector / "best.json").read_text())
    assert set(best) == {"faces", "faces-rows", "faces-columns"}
    lines = jobs.metric_lines(detector)
    for name, entry in best.items():
        folder = detector / "checkpoints" / "best" / name
        assert jobs.saved_steps(folder) == [entry["step"]]
        metric = "auc" + name.removeprefix("faces").replace("-", "_")
        curve = {line["step"]: line[metric] for line in lines if line["split"] == "faces"}
        assert entry["auc"] == curve[entry["step"]] == max(curve.values())
        assert not (folder / str(entry["step"]) / "training").exists()
    known = about(detector / "checkpoints" / "latest" / "4")
    assert (known["kind"], known["trained_methods"]) == ("detector", ["rows"])
    seen, by_mae = (
        json.loads((folder / "training_sources.json").read_text()) for folder in (detector, mae)
    )
    assert seen["faces"] == by_mae["faces"] == [f"train/real{i}" for i in range(6)]
    assert len(seen[":files"]) == 12
    assert len(by_mae[":files"]) == 6
    assert json.loads((detector / "mae_training_sources.json").read_text()) == by_mae
    kept = jobs.saved_arrays(detector / "checkpoints" / "mae" / "0")
    jobs.assert_same_arrays(kept, jobs.saved_arrays(mae / "checkpoints" / "latest" / "4"))


def test_last_needs_no_validation_and_keeps_no_best(tmp_path, mae, faces):
    flags = (f"mae={mae}", f"data.train=csv:{faces}/train.csv", "data.validation=()")
    for file in ("best.json", "reference_check.json"):  # of weights that were deleted
        (tmp_path / file).write_text('{"loss": 99}')
    assert jobs.start("detect", tmp_path, *flags, "selection=last", "data.methods=rows") == 0
    assert json.loads((tmp_path / "reference_check.json").read_text())["loss"] != 99
    assert not (tmp_path / "best.json").exists()
    assert not (tmp_path / "checkpoints" / "best").exists()
    assert {line["split"] for line in jobs.metric_lines(tmp_path)} == {"train"}


COMBINATIONS = [
    ["detector.inputs=original", "detector.blocks=full", "mae=nowhere"],
    pytest.param(["detector.inputs=original", "detector.blocks=random"], marks=pytest.mark.slow),
    pytest.param(["detector.inputs=residual", "detector.blocks=full"], marks=pytest.mark.slow),
    pytest.param(["detector.inputs=residual", "detector.blocks=random"], marks=pytest.mark.slow),
    pytest.param(["detector.inputs=both", "detector.blocks=full"], marks=pytest.mark.slow),
    pytest.param(["detector.residual=zero", "mae=nowhere"], marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.parametrize("flags", COMBINATIONS)
def test_every_kind_of_detector_trains_and_is_tested(tmp_path, mae, data, faces, flags):
    assert jobs.start("detect", tmp_path, *data, f"mae={mae}", *flags) == 0
    assert [line["step"] for line in jobs.metric_lines(tmp_path)] == [1, 2, 2, 3, 4, 4]
    test = (f"detector={tmp_path}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path / "test", *test) == 0
    if "mae=nowhere" in flags:
        assert not (tmp_path / "checkpoints" / "mae").exists()


def test_weights_may_come_from_elsewhere(tmp_path, mae, data, monkeypatch):
    """Both starts take the named MAE's weights, seen before any step changes them."""
    started = {}

    def keep(objective, config, workdir, mesh):
        started[config.job] = objective.load_initial_parameters()

    for job in ("pretrain", "detect"):
        monkeypatch.setattr(f"rffr_jax.training.{job}.train", keep)
    for after in ("check_against_reference", "write_model_card"):
        monkeypatch.setattr(f"rffr_jax.training.detect.{after}", lambda *_: None)
    there = jobs.saved_arrays(mae / "checkpoints" / "latest" / "4")
    assert jobs.start("pretrain", tmp_path / "p", *data, f"init_from={mae}") == 0
    flags = (*data, f"mae={mae}", f"detector.init={mae}")
    assert jobs.start("detect", tmp_path / "d", *flags) == 0
    assert (started["pretrain"]["mask_token"] == there["['mask_token']"]).all()
    for branch in ("original", "residual"):
        weights = started["detect"]["branches"][branch]
        assert (weights["class_token"] == there["['class_token']"]).all()
        qkv = "['blocks']['qkv']['kernel']"
        found = weights["transformer"]["blocks"]["qkv"]["kernel"]
        assert (found == there[f"['encoder']{qkv}"]).all()
