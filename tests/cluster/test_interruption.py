"""Signals that ask a run to stop."""

import signal
import threading
import time
from typing import Any

import pytest

from rffr_jax.cluster import processes
from rffr_jax.cluster.interruption import SIGNALS, StopRequest


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_only_asks_and_handlers_come_back(name):
    before = {other: signal.getsignal(other) for other in SIGNALS}
    with StopRequest() as stop:
        assert not stop.should_stop(0)
        signal.raise_signal(name)
        assert stop.should_stop(0)
    assert {other: signal.getsignal(other) for other in SIGNALS} == before


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="oops"), StopRequest():
        raise RuntimeError("oops")
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_of_the_main_thread_nothing_is_changed():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def enter():
        with StopRequest():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]


class Two:
    """Two processes as threads: what one says waits for the other, which steps at its own pace."""

    def __init__(self, monkeypatch):
        self._meeting = threading.Barrier(2, timeout=60)
        self._said: list[Any] = [None, None]
        self._number = threading.local()
        monkeypatch.setattr(processes, "process_count", lambda: 2)
        monkeypatch.setattr(processes, "all_gather_objects", self._all_gather_objects)

    def _all_gather_objects(self, value):
        self._said[self._number.value] = value
        self._meeting.wait()
        said = list(self._said)
        self._meeting.wait()
        return said

    def run(self, pause, asked_at, steps) -> list[int | None]:
        """The step at which each stops, None for the end; process 1 is asked at a step."""
        stopped: list[int | None] = [None, None]

        def train(number):
            self._number.value = number
            stop = StopRequest()
            for step in range(steps):
                if number == 1 and step == asked_at:
                    stop._ask()
                if stop.should_stop(step):
                    stopped[number] = step
                    return
                time.sleep(pause * number)

        threads = [threading.Thread(target=train, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return stopped


@pytest.mark.parametrize("pause", [0.0, 0.001])
@pytest.mark.parametrize("asked_at", [0, 5, 700])
def test_processes_stop_at_one_step_soon_after_one_is_asked(monkeypatch, pause, asked_at):
    one, other = Two(monkeypatch).run(pause, asked_at, steps=1500)
    assert one is not None
    assert one == other
    assert asked_at <= one <= asked_at + 256


def test_a_request_in_the_last_steps_may_come_too_late_for_all(monkeypatch):
    one, other = Two(monkeypatch).run(0.0, 19, steps=20)
    assert one == other


def test_what_was_asked_inside_another_request_is_not_lost():
    with StopRequest() as outer:
        with StopRequest() as inner:
            assert not outer.should_stop(1)
            signal.raise_signal(signal.SIGTERM)  # after the last look inside
        assert inner.should_stop(2)
        assert outer.should_stop(2)
    with StopRequest() as outer:
        with StopRequest():
            pass
        assert not outer.should_stop(1)


def test_who_begins_after_a_request_is_asked_from_the_start():
    with StopRequest() as outer:
        signal.raise_signal(signal.SIGTERM)
        with StopRequest() as inner:
            assert inner.should_stop(0)
        assert outer.should_stop(1)
