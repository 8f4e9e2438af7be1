"""scripts/prepare_faces.py killed, stopped and started again."""

import contextlib
import errno
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import termios
import time

import pytest

from rffr_jax.faces import runners
from rffr_jax.runs.lock import locked_folder
from tests.faces import layouts
from tests.faces.builds import content
from tests.faces.movies import face_frames, write_movie
from tests.faces.test_prepare_faces import SMALL, Movies, one_error, prepare

ROOT = pathlib.Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(("benchmark", "media"), [("folder", 12), ("table", 8)])
def test_interrupted_run_ends_with_75_and_goes_on(tmp_path, capsys, monkeypatch, benchmark, media):
    getattr(layouts, benchmark)(tmp_path / "in", Movies())
    given = tmp_path / "in" / ("media.csv" if benchmark == "table" else "")
    assert prepare(benchmark, given, tmp_path / "whole") == 0
    capsys.readouterr()
    seen = []
    real = runners.prepare_medium

    def interrupted(*args, **kwargs):
        seen.append(args[0].id)
        if len(seen) == 6:
            signal.raise_signal(signal.SIGTERM)
        return real(*args, **kwargs)

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(runners, "prepare_medium", interrupted)
    assert prepare(benchmark, given, tmp_path / "out") == 75
    assert signal.getsignal(signal.SIGTERM) is handler
    assert "start the same command again" in capsys.readouterr().err
    assert prepare(benchmark, given, tmp_path / "out") == 0
    assert len(seen) == 6 + media - 5
    version = f"{benchmark}/1.0.0"
    assert content(tmp_path / "out" / version) == content(tmp_path / "whole" / version)


def test_full_disk_and_a_second_run_are_one_line(tmp_path, capsys, monkeypatch):
    layouts.folder(tmp_path / "in", Movies())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(runners, "write_part", full)
        assert prepare("folder", tmp_path / "in", tmp_path / "out") == 2
    assert f"--output {tmp_path}/out: No space left on device" in one_error(capsys)
    with locked_folder(tmp_path / "out/.folder.parts"):
        assert prepare("folder", tmp_path / "in", tmp_path / "out") == 2
    assert "in use by another run" in one_error(capsys)
    assert prepare("folder", tmp_path / "in", tmp_path / "out") == 0


def command(folder, output, *flags):
    return [
        sys.executable, str(ROOT / "scripts/prepare_faces.py"),
        "--benchmark", "faceforensics", "--input", str(folder),
        "--output", str(output), *SMALL, *flags,
    ]  # fmt: skip


@contextlib.contextmanager
def started(folder, output, *flags):
    """The script with two workers in a process group of its own, one part written."""
    # What a shell starts in the background ignores Ctrl-C, and so would the script.
    heeded = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command(folder, output, "--workers", "2", *flags),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, heeded)
    try:
        deadline = time.monotonic() + 120
        while not list((output / ".faceforensics.parts").glob("??/*.part")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr
        process.stderr.close()


def assert_group_ends(group):
    deadline = time.monotonic() + 60
    while _group_lives(group):
        assert time.monotonic() < deadline, "a process stays behind"
        time.sleep(0.05)


def _group_lives(group):
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state != "Z":
                return True
    return False


@pytest.fixture(scope="module")
def forensics(tmp_path_factory):
    """A tiny FaceForensics++ and the files of its records, made without a break.

    The medium that comes last takes about a second.
    """
    root = tmp_path_factory.mktemp("forensics")
    layouts.faceforensics(root / "in", Movies())
    last = root / "in/original_sequences/youtube/c23/videos/005.mp4"
    write_movie(last, face_frames(99, 60, 320))
    assert prepare("faceforensics", root / "in", root / "whole") == 0
    return root / "in", content(root / "whole/faceforensics/1.0.0")


@pytest.mark.slow
def test_killed_run_goes_on_to_the_same_bytes(tmp_path, forensics):
    """The main process alone is killed: its workers must see that and end."""
    folder, whole = forensics
    with started(folder, tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert_group_ends(process.pid)
    parts = list((tmp_path / ".faceforensics.parts").glob("??/*.part"))
    assert 0 < len(parts) < 18
    for _ in range(2):
        again = command(folder, tmp_path, "--workers", "2")
        subprocess.run(again, env=ENVIRONMENT, check=True)
        assert content(tmp_path / "faceforensics/1.0.0") == whole
    assert [path.name for path in tmp_path.iterdir()] == ["faceforensics"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signal_ends_with_75_and_the_run_goes_on(tmp_path, forensics, name):
    folder, whole = forensics
    for attempt in range(10):
        output = tmp_path / str(attempt)
        with started(folder, output) as process:
            os.killpg(process.pid, getattr(signal, name))
            if process.wait(timeout=60) == 0:
                continue  # it was done before the signal came
            assert process.returncode == 75
            assert process.stderr
            errors = process.stderr.read()
            assert errors == "stopped; start the same command again to resume\n"
            assert_group_ends(process.pid)
        assert prepare("faceforensics", folder, output) == 0
        assert content(output / "faceforensics/1.0.0") == whole
        return
    pytest.fail("no run lasted until the signal came")


@pytest.mark.slow
def test_terminal_shows_speed_and_time_left(tmp_path, forensics):
    folder, _ = forensics
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with open(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            command(folder, tmp_path, "--workers", "0"),
            env=ENVIRONMENT,
            stderr=theirs,
            stdout=subprocess.DEVNULL,
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone
            while data := screen.read(4096):
                shown += data
        assert process.wait() == 0
    first, last = (
        rb" 0/18 \[00:00<\?,",
        rb" 18/18 \[\d\d:\d\d<00:00, +[\d.]+( videos/s|s/ videos)\]",
    )
    assert re.search(first, shown)
    assert re.search(last, shown), shown
