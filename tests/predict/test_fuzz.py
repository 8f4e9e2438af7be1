"""scripts/fuzz: broken files are used or refused, and what is not is reported."""

import shutil
import subprocess
import sys

import pytest

from scripts.fuzz import http_requests, readers
from scripts.fuzz.__main__ import format_outcomes
from scripts.fuzz.child import break_and_read
from scripts.fuzz.kinds import IMAGES, REQUESTS, VIDEOS
from scripts.fuzz.whole_files import make_whole_files
from tests import jobs

pytestmark = pytest.mark.slow
KINDS = ("image", "video", "finished", "model", "request")


@pytest.fixture
def room(tmp_path):
    """What a child process works on, with a server for its requests."""
    make_whole_files(tmp_path / "whole", KINDS)
    room = tmp_path / "worker0"
    shutil.copytree(tmp_path / "whole", room)
    yield room
    http_requests.service_for(room).close()


def test_broken_files_are_used_or_refused(tmp_path, room):
    found = [
        break_and_read(tmp_path, room, 7, number, kind)
        for number, kind in enumerate(kind for kind in KINDS for _ in range(16))
    ]
    assert not [outcome for outcome in found if not outcome.well]
    said = {outcome.what for outcome in found}
    assert "used" in said
    assert len(said) > 8
    assert not any((tmp_path / "bad").iterdir())
    assert sum(line.startswith("| ") for line in format_outcomes(found)) > 8


def test_whole_files_are_all_used(room):
    for name in (*IMAGES, *VIDEOS):
        said = readers.find_faces_of(room, room / name)
        assert said == "used" or (name == "moves.gif" and said.startswith("GIF pictures"))
    for name in REQUESTS:
        said = http_requests.send_upload(room, room / name, None)
        assert said == "whole request: scored, used"
    assert readers.resume(room, room / "finished.jsonl") == "used, 10 of 10 records kept"


def test_a_request_that_is_badly_treated_is_told(tmp_path, room, monkeypatch):
    plan = http_requests.Plan("x", [b"?\r\n\r\n"], (200,))
    monkeypatch.setattr(http_requests, "broken_request", lambda *_: plan)
    found = break_and_read(tmp_path, room, 7, 0, "request")
    assert not found.well
    assert "x: 400" in found.what


def test_children_break_files_and_are_ended(tmp_path):
    script = [sys.executable, "-m", "scripts.fuzz", "--output", str(tmp_path)]
    run = {"capture_output": True, "text": True, "cwd": jobs.CONFIGS.parent}
    done = subprocess.run([*script, "--files", "40", "--seed", "3"], **run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 files, seed 3" in done.stdout
    late = [*script, "--files", "2", "--workers", "1", "--kinds", "image", "--limit", "1e-9"]
    ended = subprocess.run(late, **run)
    assert ended.returncode == 1
    assert ended.stdout.count("takes longer than 1e-09 s") >= 2
