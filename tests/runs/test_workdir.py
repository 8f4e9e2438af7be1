"""One run at a time in a workdir."""

import concurrent.futures
import errno
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
from ml_collections import ConfigDict

from rffr_jax.errors import UserError
from rffr_jax.runs import lock
from rffr_jax.runs.lock import locked_folder
from rffr_jax.runs.workdir import locked_workdir, refuse_other_config, write_config

HOLD = """
import fcntl, sys
lock = open(sys.argv[1] + "/.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_another_config_is_refused_and_named(tmp_path):
    began = {"job": "pretrain", "steps": 4, "remat": False, "detect": {"steps": 3}}
    (tmp_path / "config.json").write_text(json.dumps(began))
    refuse_other_config(tmp_path, ConfigDict(began | {"remat": True}), begun=True)
    with pytest.raises(UserError, match=r"\(detect.steps: 3 there, 5 in this config\)"):
        refuse_other_config(tmp_path, ConfigDict(began | {"detect": {"steps": 5}}), begun=True)
    with pytest.raises(UserError, match=r"\(unknown: nothing there, 1 in this config\)"):
        refuse_other_config(tmp_path, ConfigDict(began | {"unknown": 1}), begun=True)
    many = {f"entry_{letter}": 1 for letter in "abcdefg"}
    with pytest.raises(UserError, match=r"entry_e: nothing there, 1 in this config; and 2 more\)"):
        refuse_other_config(tmp_path, ConfigDict(began | many), begun=True)


def test_a_second_run_is_refused_and_a_later_one_is_not(tmp_path):
    with locked_folder(tmp_path / "run"):
        with (
            pytest.raises(UserError, match=f"--workdir={tmp_path}/run is in use by another run"),
            locked_folder(tmp_path / "run"),
        ):
            pass
        with locked_folder(tmp_path / "other"):
            pass
    with locked_folder(tmp_path / "run"):
        pass


def test_the_lock_dies_with_its_process(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="is in use"), locked_folder(tmp_path):
            pass
        holder.kill()
    with locked_folder(tmp_path):
        pass


def test_a_lock_that_is_only_tested_refuses_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 60)
    tested = threading.Event()

    def test_lock():
        with lock.try_lock(tmp_path / ".lock"):
            tested.set()
            time.sleep(0.1)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(test_lock)
        assert tested.wait(60)
        with locked_folder(tmp_path):
            pass


def test_unfinished_files_of_a_killed_run_are_removed(tmp_path):
    part = tmp_path / f".best.json.{'0' * 32}.part"
    part.write_text("{")
    with locked_workdir(tmp_path):
        assert not part.exists()


def test_an_error_frees_the_lock(tmp_path):
    with pytest.raises(RuntimeError, match="oops"), locked_folder(tmp_path):
        raise RuntimeError("oops")
    with locked_folder(tmp_path):
        pass


def test_a_workdir_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"--workdir={tmp_path}/file cannot be written"):
        locked_folder(tmp_path / "file").__enter__()


def test_config_is_written_as_json(tmp_path):
    write_config(tmp_path, ConfigDict({"job": "detect", "data": {"train": ("a", "b")}}))
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == {"job": "detect", "data": {"train": ["a", "b"]}}


def test_a_folder_that_nobody_can_write_is_named():
    with pytest.raises(UserError, match="--workdir=/proc/run cannot be written"):
        locked_folder(pathlib.Path("/proc/run")).__enter__()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_more_is_a_mistake_to_put_right(tmp_path, number):
    with (
        pytest.raises(UserError, match=f"{tmp_path} cannot be written: {os.strerror(number)}"),
        locked_folder(tmp_path),
    ):
        raise OSError(number, os.strerror(number))


def test_the_reason_is_found_behind_other_errors(tmp_path):
    told = ValueError("RESOURCE_EXHAUSTED: [os_error_code='28'] [source locations=..]")
    with pytest.raises(UserError, match="No space left on device"), locked_folder(tmp_path):
        raise RuntimeError("the save failed") from told


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "gone"), KeyError("x"), OSError("odd")])
def test_a_defect_stays_a_defect(tmp_path, error):
    with pytest.raises(type(error)), locked_folder(tmp_path):
        raise error
