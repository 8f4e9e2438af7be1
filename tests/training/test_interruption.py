"""Signals that ask a run to stop."""

import signal
import threading

import pytest

from rffr_jax.training.interruption import SIGNALS, StopRequest


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_only_asks_and_handlers_come_back(name):
    before = {other: signal.getsignal(other) for other in SIGNALS}
    with StopRequest() as stop:
        assert not stop.asked
        signal.raise_signal(name)
        assert stop.asked
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
