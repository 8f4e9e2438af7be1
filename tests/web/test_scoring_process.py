"""The process that scores, when it dies and when the system starts no other one."""

import errno
import multiprocessing.context
import os
import pathlib
import re
import signal

import pytest
from ml_collections import ConfigDict

from configs import web
from rffr_jax.predict import file_scorer
from rffr_jax.predict.predict import detector_and_settings
from rffr_jax.web import scoring_process
from rffr_jax.web.refused import RefusedError
from rffr_jax.web.scoring_process import NoChildError, ScoringProcess
from tests.random_detectors import settings_of, write_random_detector
from tests.web.quick_child import answer_with_the_name

CONFIG = ConfigDict({"seconds_per_file": 60.0})


@pytest.fixture
def limit(monkeypatch) -> list[int]:
    """While it holds the number of an error, no process is started."""
    monkeypatch.setattr(scoring_process, "_serve", answer_with_the_name)
    start, errors = multiprocessing.context.SpawnProcess.start, []

    def limited(process):
        if errors:
            raise OSError(errors[0], os.strerror(errors[0]))
        start(process)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", limited)
    return errors


def scored(scorer: ScoringProcess, folder: pathlib.Path) -> str:
    return scorer.score(folder / "a.png", folder)["files"][0]["path"]


def refusal(scorer: ScoringProcess, folder: pathlib.Path) -> int:
    with pytest.raises(RefusedError) as caught:
        scorer.score(folder / "a.png", folder)
    return caught.value.status


def kill_child():
    (child,) = multiprocessing.active_children()
    child.kill()
    child.join()


def test_a_start_that_fails_is_tried_again_at_the_next_file(limit, tmp_path):
    scorer = ScoringProcess(CONFIG)
    assert scored(scorer, tmp_path) == "a.png"
    assert (scorer.detector, scorer.note) == ("a detector", "this is for tests")
    kill_child()
    limit.append(errno.ENOMEM)
    assert refusal(scorer, tmp_path) == 500
    assert refusal(scorer, tmp_path) == 503
    with pytest.raises(NoChildError, match=os.strerror(errno.ENOMEM)):
        scorer.wait_until_ready()
    limit.clear()
    assert scored(scorer, tmp_path) == "a.png"
    scorer.close()
    assert not multiprocessing.active_children()


def test_one_without_a_child_closes(limit, tmp_path):
    scorer = ScoringProcess(CONFIG)
    scorer.wait_until_ready()
    kill_child()
    limit.append(errno.EAGAIN)
    assert refusal(scorer, tmp_path) == 500
    scorer.close()
    limit.clear()
    assert refusal(scorer, tmp_path) == 503
    scorer.wait_until_ready()  # it is closed, so nothing is started
    assert not multiprocessing.active_children()


def test_the_first_child_that_cannot_be_started_is_told(limit):
    limit.append(errno.EAGAIN)
    with pytest.raises(NoChildError, match=r"cannot be started: .*; are there too many"):
        ScoringProcess(CONFIG)


@pytest.mark.slow
def test_signals_to_a_child_that_starts_do_not_end_it(tmp_path):
    config = web.get_config()
    config.detector = str(write_random_detector(tmp_path / "model", settings_of()))
    scorer = ScoringProcess(config)
    (child,) = multiprocessing.active_children()
    assert child.pid
    for name in (signal.SIGTERM, signal.SIGINT):
        os.kill(child.pid, name)
    scorer.wait_until_ready()
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    blocked, ignored = (
        int(re.findall(rf"{key}:\s+(\w+)", status)[0], 16) for key in ("SigBlk", "SigIgn")
    )
    for name in (signal.SIGTERM, signal.SIGINT):
        assert ignored >> (name - 1) & 1
        assert not blocked >> (name - 1) & 1
    scorer.close()
    assert not child.is_alive()


def test_a_signal_does_not_stop_the_file_that_is_scored(tmp_path, monkeypatch):
    """The child ignores the signals, and a file changes nothing about that."""
    config = web.get_config()
    config.detector = str(write_random_detector(tmp_path / "model", settings_of()))
    detector, settings = detector_and_settings(config)
    find = file_scorer.find_faces

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return find(*arguments)

    monkeypatch.setattr(file_scorer, "find_faces", interrupted)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        (tmp_path / "upload").write_text("no picture")
        said = scoring_process.score_file(config, detector, settings, tmp_path / "upload", tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert said["files"][0]["status"] == "unknown"
