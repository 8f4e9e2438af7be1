"""Several processes that share a folder and a workdir."""

import json
import subprocess
import sys

import pytest

from rffr_jax.runs.lock import locked_folder
from tests import jobs


def started(workdir, detector, faces, *flags):
    given = (f"detector={detector}", f"inputs={faces}/test", *jobs.GIVEN, *flags)
    return jobs.start("predict", workdir, *given)


def without_scores(file):
    faces = [{k: v for k, v in f.items() if k not in ("score", "frames")} for f in file["faces"]]
    return file | {"score": None, "examined": None, "faces": faces}


def require_same(workdir, whole):
    one, other = (json.loads((w / "predictions.json").read_text()) for w in (workdir, whole))
    assert list(map(without_scores, one["files"])) == list(map(without_scores, other["files"]))
    scores = [[file["score"] for file in said["files"]] for said in (one, other)]
    assert scores[0] == pytest.approx(scores[1], abs=2e-6)
    assert one["counts"] == other["counts"]
    assert "--config.part" not in one["command"]
    for file in one["files"]:
        assert (workdir / file["faces"][0]["evidence"]).is_file()
    assert (workdir / "report.html").is_file()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, detector, faces):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert started(workdir, detector, faces) == 0
    return workdir


def test_the_last_part_writes_what_one_process_does(tmp_path, detector, faces, whole, capsys):
    assert started(tmp_path, detector, faces, "part=2/3") == 0
    assert started(tmp_path, detector, faces, "part=1/3") == 0
    assert "part 1/3 is done; 6 files of other parts" in capsys.readouterr().out
    assert not (tmp_path / "predictions.json").exists()
    assert started(tmp_path, detector, faces, "part=3/3") == 0
    require_same(tmp_path, whole)


def test_a_part_that_is_being_done_is_refused(tmp_path, detector, faces, capsys):
    with locked_folder(tmp_path / "parts/1-of-2"):
        assert started(tmp_path, detector, faces, "part=1/2") == 2
        assert "is in use by another run" in capsys.readouterr().err.splitlines()[-1]
        assert started(tmp_path, detector, faces, "part=2/2") == 0


@pytest.mark.parametrize("text", ["3/2", "0/2", "2", "1/2/3", "a/b", "-1/2", "1/0"])
def test_what_is_no_part_is_refused(tmp_path, detector, faces, capsys, text):
    assert started(tmp_path / "out", detector, faces, f"part={text}") == 2
    assert f"part='{text}' is none; write K/N" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_at_once(tmp_path, detector, faces, whole):
    flags = (f"detector={detector}", f"inputs={faces}/test", *jobs.GIVEN)
    started_parts = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "rffr_jax.main", f"--config={jobs.CONFIGS}/predict.py"),
                *(f"--config.{flag}" for flag in (*flags, f"part={number}/2")),
                f"--workdir={tmp_path}",
            ],
            cwd=jobs.CONFIGS.parent,
        )
        for number in (1, 2)
    ]
    try:
        assert [process.wait(timeout=300) for process in started_parts] == [0, 0]
    finally:
        for process in started_parts:
            process.kill()
    require_same(tmp_path, whole)
