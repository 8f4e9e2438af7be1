"""What a training survives: damage, full disks, signals at bad moments, and being killed."""

import errno
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

import pytest

from rffr_jax.evaluation import metrics
from rffr_jax.runs.checkpoints import manager
from rffr_jax.runs.checkpoints.run_state import RunCheckpoints
from rffr_jax.training import metric_writer, pretrain, validation
from tests import jobs

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
LATEST = pathlib.Path("checkpoints", "latest")
BEST = pathlib.Path("checkpoints", "best")


def disk_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def over_quota(*_, **__):
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def at_call(number, fail, function):
    """The function itself, but for one call, counted from 1."""
    calls = []

    def wrapper(*args, **kwargs):
        calls.append(args)
        return fail() if len(calls) == number else function(*args, **kwargs)

    return wrapper


def test_a_run_whose_newest_checkpoint_is_damaged_ends_as_it_would_have(
    tmp_path, mae, data, capsys
):
    workdir = tmp_path / "run"
    shutil.copytree(mae, workdir)
    file = max(
        (p for p in (workdir / LATEST / "4" / "training").rglob("*") if p.is_file()),
        key=lambda p: p.stat().st_size,
    )
    file.write_bytes(file.read_bytes()[:-1])
    capsys.readouterr()
    assert jobs.start("pretrain", workdir, *data) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert len(told) == 1
    assert "step 4 is damaged: training/" in told[0]
    assert told[0].endswith("going back to step 2")
    jobs.assert_same_run(workdir, mae)
    assert (workdir / "checkpoints" / "damaged" / "4-1").is_dir()


@pytest.mark.parametrize(
    ("module", "name", "number"),
    [
        (manager.shutil, "disk_usage", 2),  # found before the second save
        (manager, "write_checksums", 2),  # in the background of the second save
        (metric_writer.os, "fsync", 7),  # metrics.jsonl at step 3: two a line, the other its events
        (pretrain, "contact_sheet", 2),
    ],
)
@pytest.mark.parametrize("fail", [disk_full, over_quota])
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(
    tmp_path, monkeypatch, capsys, mae, data, module, name, number, fail
):
    with monkeypatch.context() as patch:
        patch.setattr(module, name, at_call(number, fail, getattr(module, name)))
        assert jobs.start("pretrain", tmp_path, *data) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "Traceback" not in "".join(lines)
    assert [line for line in lines if "cannot be written" in line] == lines[-1:]
    reason = "No space left on device" if fail is disk_full else "Disk quota exceeded"
    assert f"--workdir={tmp_path} cannot be written: {reason}" in lines[-1]
    assert jobs.saved_steps(tmp_path / LATEST) == [2]
    assert jobs.start("pretrain", tmp_path, *data) == 0
    jobs.assert_same_run(tmp_path, mae)


def test_a_full_disk_while_a_best_is_kept_is_one_line(
    tmp_path, monkeypatch, capsys, data, mae, detector
):
    flags = (*data, f"mae={mae}", "data.methods=rows")
    with monkeypatch.context() as patch:
        patch.setattr(validation, "write_json", disk_full)
        assert jobs.start("detect", tmp_path, *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"--workdir={tmp_path} cannot be written: No space left on device" in line
    assert jobs.start("detect", tmp_path, *flags) == 0
    jobs.assert_same_run(tmp_path, detector)
    assert (tmp_path / "best.json").read_bytes() == (detector / "best.json").read_bytes()


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from tests import jobs
sys.exit(jobs.start("pretrain", *sys.argv[2:]))
"""


def test_a_limit_on_the_size_of_files_is_one_line(tmp_path, data):
    """The system itself refuses to write."""
    command = [sys.executable, "-c", LIMITED, "50000", str(tmp_path / "run"), *data]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400
    )
    assert found.returncode == 2, found.stderr
    lines = [
        line
        for line in found.stderr.splitlines()
        if "left out" not in line and "freed memory" not in line
    ]
    assert lines == [line for line in lines if line.startswith("rffr_jax: ")]
    assert f"--workdir={tmp_path}/run cannot be written: File too large" in lines[-1]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert jobs.start("pretrain", tmp_path / "run", *data) == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize(
    ("owner", "method", "saved"),
    [(pretrain.Pretraining, "evaluate", [2]), (RunCheckpoints, "save", [2, 3])],
)
def test_a_signal_while_evaluating_or_saving_is_answered_after_it(
    tmp_path, monkeypatch, capsys, mae, data, name, owner, method, saved
):
    whole = getattr(owner, method)

    def interrupted(self, *args):
        signal.raise_signal(signal.Signals[name])
        return whole(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, interrupted)
        assert jobs.start("pretrain", tmp_path, *data) == 75
    assert f"stopped at step {saved[-1]} of 4" in capsys.readouterr().err.splitlines()[-1]
    assert jobs.saved_steps(tmp_path / LATEST) == saved
    assert jobs.start("pretrain", tmp_path, *data) == 0
    jobs.assert_same_run(tmp_path, mae)


def test_an_early_best_and_the_latest_are_both_kept(tmp_path, monkeypatch, data, mae):
    falling = iter(range(1000, 0, -1))
    with monkeypatch.context() as patch:
        patch.setattr(metrics, "auc", lambda *_: next(falling) / 1000)
        flags = (*data, f"mae={mae}", "data.methods=rows", "steps=12")
        assert jobs.start("detect", tmp_path, *flags) == 0
    assert jobs.saved_steps(tmp_path / LATEST) == [10, 12]
    names = [path.name for path in (tmp_path / BEST).iterdir()]
    assert sorted(names) == ["faces", "faces-columns", "faces-rows"]
    for name in names:
        assert jobs.saved_steps(tmp_path / BEST / name) == [2]
    best = jobs.saved_arrays(tmp_path / BEST / "faces" / "2")
    last = jobs.saved_arrays(tmp_path / LATEST / "12")
    assert best.keys() == last.keys()
    assert any((best[name] != last[name]).any() for name in best)


def test_killed_runs_end_bit_for_bit_as_undisturbed_ones(tmp_path):
    command = [sys.executable, "scripts/kill_test.py", f"--output={tmp_path}", "--kills=4"]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.splitlines()[-1] == "4 kills: bit for bit the same"
