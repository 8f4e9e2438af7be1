"""`scripts/gpu_parts.sh`: what is done is not done again, what lacks is said; in small all runs."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from rffr_jax.errors import UserError
from scripts import gpu_report
from scripts.gpu import leg, requirements

ROOT = pathlib.Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "gpu_parts.sh"
PARTS = tuple(requirements.PARTS)

# Stands for Python: notes how it was called, and answers as $RC says.
STUB = """#!/usr/bin/env bash
echo "$@" >> "$RECORDS"
case "$*" in
*requirements*) exit "${REFUSED:-0}" ;;
*gpu_report*) exit 0 ;;
*"$WAITS"*) exec sleep 60 ;;
*"$FAILS"*) echo "no such row"; exit ${CODE:-1} ;;
esac
"""


@pytest.fixture
def started(tmp_path):
    """A function that starts the script with a stub of Python: exit code, output, calls."""
    stub = tmp_path / "python"
    stub.write_text(STUB)
    stub.chmod(0o755)

    def start(*arguments, script=SCRIPT, cwd=None, **environment):
        records = tmp_path / "records"
        records.write_text("")
        done = subprocess.run(
            ["bash", str(script), *arguments],
            cwd=cwd,
            env={
                **os.environ,
                **{"PYTHON": str(stub), "RECORDS": str(records), "WAITS": "?", "FAILS": "?"},
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=100,
        )
        units = [line for line in records.read_text().splitlines() if "--output" in line]
        return done.returncode, done.stdout + done.stderr, units

    return start


def test_what_is_done_is_not_done_again(started, tmp_path):
    arguments = ("batches", "--output", str(tmp_path / "out"))
    code, _, first = started(*arguments, FAILS="residual_64")
    assert code == 1
    assert len(first) == 7
    assert "exit code 1: no such row" in (
        (tmp_path / "out" / "batches" / "residual_64" / "failed").read_text()
    )
    code, _, again = started(*arguments)
    assert code == 0
    assert ["residual_64" in line for line in again] == [True]
    assert started(*arguments)[2] == []


def test_a_unit_that_is_killed_early_failed_and_is_tried_again(started, tmp_path):
    arguments = ("attention", "--output", str(tmp_path / "out"))
    assert started(*arguments, FAILS="gpu.attention", CODE="137")[0] == 1
    failed = (tmp_path / "out" / "attention" / "kernels" / "failed").read_text()
    assert failed == "exit code 137: no such row\n"
    code, _, again = started(*arguments)
    assert (code, len(again)) == (0, 1)


@pytest.mark.slow
def test_a_unit_after_the_packing_was_not_alone(started, tmp_path):
    arguments = ("profile", "--output", str(tmp_path / "out"))
    slow = {"SECONDS_A_PART": "3", "WAITS": "rffr_jax.main"}
    folder = tmp_path / "out" / "profile" / "run"
    assert started(*arguments, **slow)[0] == 75
    assert not (folder / "done").exists()
    (tmp_path / "out" / "images").mkdir()
    (tmp_path / "out" / "images" / "validation.csv").touch()
    assert started(*arguments, **slow)[0] == 75
    assert "left out" in (folder / "failed").read_text()


def test_the_exit_code_of_the_packing_is_passed_on(started, tmp_path):
    arguments = ("pretrain", "--output", str(tmp_path / "out"))
    code, _, units = started(*arguments, FAILS="pack_images", CODE="2")
    assert (code, len(units)) == (2, 1)


def test_folders_and_the_script_itself_are_relative_to_the_caller(started, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for split in ("train", "validation"):
        (images / f"{split}.csv").touch()
    code, output, _ = started(
        *("all", "--images", "images", "--output", "out"),
        script=os.path.relpath(SCRIPT, tmp_path),
        cwd=tmp_path,
        PYTHON="./python",
    )
    assert "part detect needs a MAE" in output  # the last part: the stub trains none
    assert code == 2
    assert f"csv:{images}/train.csv" in (tmp_path / "records").read_text()
    assert (tmp_path / "out" / "doctor" / "check" / "done").exists()


def test_a_python_that_is_missing_is_told_in_one_line(started):
    code, output, _ = started("doctor", PYTHON="no_python")
    assert code == 2
    assert output.startswith("error: 'no_python' is no program")
    assert output.count("\n") == 1


@pytest.mark.slow
def test_time_is_up_and_the_part_goes_on(started, tmp_path):
    arguments = ("batches", "--output", str(tmp_path / "out"))
    folder = tmp_path / "out" / "batches" / "residual_64"
    slow = {"SECONDS_A_PART": "6", "WAITS": "residual_64"}
    code, output, first = started(*arguments, **slow)
    assert code == 75
    assert "start it again" in output
    assert len(first) == 2
    assert not (folder / "done").exists()
    # Alone it has all the time of a part. If that is not enough, it never will be.
    code, _, alone = started(*arguments, **slow)
    assert (code, len(alone)) == (75, 1)
    assert "left out" in (folder / "failed").read_text()
    code, _, rest = started(*arguments)
    assert (code, len(rest)) == (0, 5)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "'' is no part"),
        (("training",), "'training' is no part"),
        (("doctor", "--fast"), "'--fast' is not known"),
        (("doctor", "--output"), "--output needs a folder"),
        (("pretrain", "--images", "/nowhere"), "/nowhere holds no train.csv"),
    ],
)
def test_a_mistake_is_told_in_one_line(started, arguments, reason):
    code, output, units = started(*arguments)
    assert code == 2
    assert reason in output
    assert output.count("\n") == 1
    assert not units


def test_the_detector_needs_a_mae(started, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for split in ("train", "validation"):
        (images / f"{split}.csv").touch()
    arguments = ("detect", "--images", str(images), "--output", str(tmp_path / "out"))
    code, output, _ = started(*arguments)
    assert code == 2
    assert "run part pretrain first" in output


def test_parts_say_which_packages_they_lack(monkeypatch, capsys):
    lacking = ("grain", "tensorflow_datasets", "torch")
    installed = requirements._is_installed
    monkeypatch.setattr(
        requirements, "_is_installed", lambda name: name not in lacking and installed(name)
    )
    assert requirements.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("can run")] == [
        "doctor",
        "attention",
    ]
    assert sum("needs grain, tensorflow_datasets" in line for line in lines) == 5
    assert "torch" in lines[-1]
    with pytest.raises(UserError, match=r"part pretrain needs grain, .*requirements\.txt"):
        requirements.main(["--part", "pretrain", "--quick"])


def test_all_that_requirements_txt_names_is_looked_for():
    """As many import names as packages, JAX's plugin aside."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert len(requirements.ALL) == len(packages)
    assert not requirements.missing(requirements.ALL)


def test_a_leg_by_hand():
    lines = [
        {"step": 2, "split": "train", "loss": 3.0, "images_seen": 8, "images_per_second": 1.0,
         "tflops_per_device": 1.0, "seconds": 100.0, "seconds_waited_for_data": 99.0},
        {"step": 4, "split": "train", "loss": 2.0, "images_seen": 16, "images_per_second": 8.0,
         "tflops_per_device": 3.0, "seconds": 1.0, "seconds_waited_for_data": 0.5},
        {"step": 6, "split": "train", "loss": 1.0, "images_seen": 24, "images_per_second": 4.0,
         "tflops_per_device": 5.0, "seconds": 3.0, "seconds_waited_for_data": 0.5},
        {"step": 6, "split": "validation", "loss": 0.5, "auc": 0.75},
    ]  # fmt: skip
    found = leg.summary([json.dumps(line) for line in lines])
    assert found == {
        "steps": 6,
        "images seen": 24,
        "loss at the first line": 3.0,
        "loss at the last line": 1.0,
        "images_per_second": 6.0,
        "tflops_per_device": 4.0,
        "share of the time that waited for data": 0.25,
        "validation: loss": 0.5,
        "validation: auc": 0.75,
    }
    with pytest.raises(UserError, match="no step"):
        leg.summary([])


def row(work, dtype, who, rate, share):
    return {
        **{"work": work, "dtype": dtype, "batch": 32, "who": who, "seconds": [1.0], "images": 1},
        **{"images_per_second": rate, "share_of_measured_rate": share, "memory": None},
    }


def test_the_report_holds_what_was_measured_against_the_targets(tmp_path):
    about = {
        **{"date": "today", "device": "a card", "cores": 8, "versions": {"jax": "1"}},
        **{"command": "-", "notes": ["a note"]},
    }
    rows = {
        "residual_bfloat16": row("residual", "bfloat16", "rffr_jax", 500.0, 0.61),
        "residual_float32": row("residual", "float32", gpu_report.LOOP, 20.0, None),
    }
    for name, one in rows.items():
        folder = tmp_path / "benchmark" / name
        folder.mkdir(parents=True)
        (folder / "benchmark.json").write_text(json.dumps({**about, "rows": [one]}))
        (folder / "benchmark.md").touch()
        (folder / "done").touch()
    (tmp_path / "doctor" / "check").mkdir(parents=True)
    (tmp_path / "doctor" / "check" / "failed").write_text("exit code 1: no driver\n")
    assert gpu_report.main(["--results", str(tmp_path)]) == 0
    page = (tmp_path / "report.md").read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    assert ["full residual, bfloat16, of the measured rate", "60 %", "61%"] in lines
    assert ["the same beside PyTorch's loop in float32", "20 x", "25.0 x"] in lines
    assert ["block-mask pretraining, bfloat16, of that rate", "50 %", "-"] in lines
    assert "- check: failed: exit code 1: no driver" in page
    assert page.count("Not run.") == len(PARTS) - 2
    assert page.count("### residual") == 2
    held = json.loads((tmp_path / "report.json").read_text())
    assert held["benchmark"]["residual_float32"]["found"]["rows"][0]["images_per_second"] == 20.0


def write_row(folder, device, **row):
    about = {"date": "today", "device": device, "cores": 8, "versions": {}, "notes": []}
    folder.mkdir(parents=True)
    (folder / "benchmark.json").write_text(json.dumps({**about, "rows": [row]}))


def test_the_report_starts_from_the_root(tmp_path):
    write_row(  # without its Markdown: it was killed between the two
        tmp_path / "benchmark" / "input", "a card", **row("input", "float32", "rffr_jax", 5.0, None)
    )
    command = [sys.executable, "-m", "scripts.gpu_report", "--results", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "### input" in (tmp_path / "report.md").read_text()


def test_results_of_different_devices_are_refused(tmp_path):
    one = row("pretrain", "bfloat16", "rffr_jax", 5.0, None)
    write_row(tmp_path / "benchmark" / "pretrain_bfloat16", "a card", **one)
    write_row(tmp_path / "batches" / "pretrain_64", "another card", **one)
    with pytest.raises(UserError, match="mixes measurements of a card and another card"):
        gpu_report.main(["--results", str(tmp_path)])
    assert not (tmp_path / "report.md").exists()


@pytest.mark.slow
def test_all_parts_in_small_on_a_cpu(tmp_path):
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "JAX_PLATFORMS": "cpu",
        "SECONDS_A_PART": "1000",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
    }
    command = ["bash", str(SCRIPT), "all", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    held = json.loads((tmp_path / "report.json").read_text())
    for part in PARTS:
        assert held[part], part
        for unit in held[part].values():
            assert unit["state"] == "done"
    assert held["pretrain"]["run"]["found"]["steps"] == 6
    assert 0 <= held["detect"]["run"]["found"]["synthetic: auc"] <= 1
    assert held["profile"]["trace"]["found"]["seconds"] > 0
    rows = gpu_report.all_rows(held["benchmark"])
    assert {row["work"] for row in rows} == {"detect", "evaluate", "input", "pretrain", "residual"}
    assert not [row for row in rows if "reason" in row]
    packed = (tmp_path / "images").rglob("*")
    assert sum(file.stat().st_size for file in packed if file.is_file()) < 200_000
    page = (tmp_path / "report.md").read_text()
    assert "Not run" not in page
    assert "No row in bfloat16 was measured" in page
