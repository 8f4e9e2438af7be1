"""A signal before the server is there: it is counted, and the server stops."""

import contextlib
import os
import signal
import sys
import types

import pytest

from rffr_jax import main
from rffr_jax.web.stop_signals import SIGNALS, StopSignals
from tests import jobs


@pytest.fixture(autouse=True)
def handlers():
    """Puts the handlers back that a signal leaves to the end of the program."""
    before = {name: signal.getsignal(name) for name in SIGNALS}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_while_the_program_is_loaded_stops_the_server(tmp_path, monkeypatch, name):
    counts = []

    def join(launch):
        os.kill(os.getpid(), name)
        return contextlib.nullcontext()

    def run(config, workdir):
        with StopSignals() as signals:
            counts.append(signals.count)

    monkeypatch.setattr(main.processes, "join_processes", join)
    monkeypatch.setitem(sys.modules, main.JOBS["web"], types.SimpleNamespace(run=run))
    assert jobs.start("web", tmp_path) == 0
    assert counts == [1]


def test_a_signal_in_an_inner_block_is_counted_outside_too():
    with StopSignals() as outer, StopSignals() as inner:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (outer.count, inner.count) == (1, 1)
    os.kill(os.getpid(), signal.SIGTERM)  # the program ends, so none ends it
    assert outer.count == 2


def test_without_a_signal_the_handlers_are_as_before():
    before = [signal.getsignal(name) for name in SIGNALS]
    with StopSignals(), StopSignals():
        pass
    assert [signal.getsignal(name) for name in SIGNALS] == before
