"""Inputs are read while a step runs: in order, not too far ahead, and by a thread that ends."""

import contextlib
import signal
import threading

import pytest

from rffr_jax.errors import UserError
from rffr_jax.training import loop
from rffr_jax.training.read_ahead import STEPS_AHEAD, read_ahead
from rffr_jax.training.training_cache import TrainingCache
from tests import jobs
from tests.training.test_loop import die, when_logged

SECONDS = 60  # of waiting for what must happen; nothing waits so long where it does


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "read_ahead" in thread.name]


def test_reads_come_in_order_while_the_caller_works_and_not_too_far_ahead():
    begun = [threading.Event() for _ in range(6)]
    read_by = set()

    def read(step):
        begun[step].set()
        read_by.add(threading.current_thread().name)
        return step

    with contextlib.closing(read_ahead(read, range(6))) as reads:
        for step in range(6):
            assert next(reads) == step
            ahead = begun[: step + 1 + STEPS_AHEAD]
            assert all(event.wait(SECONDS) for event in ahead)
            assert not any(event.is_set() for event in begun[len(ahead) :])
        assert list(reads) == []
    assert len(read_by) == 1
    assert threading.current_thread().name not in read_by
    assert not threads()


def test_an_error_comes_as_itself_where_its_step_is_asked_for():
    mistake = UserError("no such file")

    def read(step):
        if step == 1:
            raise mistake
        return step

    reads = read_ahead(read, range(9))
    assert next(reads) == 0
    with pytest.raises(UserError) as raised:
        next(reads)
    assert raised.value is mistake
    assert not threads()


def test_the_thread_ends_when_the_caller_leaves():
    reads = read_ahead(lambda step: step, range(9))
    assert next(reads) == 0
    assert threads()
    reads.close()
    assert not threads()


@pytest.fixture(scope="module")
def flags(data, mae):
    return (*data, f"mae={mae}", "data.methods=rows", "residuals.training=always")


def without_reading_ahead(read, steps):
    yield from map(read, steps)


def test_kept_residuals_are_read_while_a_step_runs_with_the_same_result(
    tmp_path, monkeypatch, flags
):
    """Neither the slow store nor the slow step ends before the other has begun."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "read_ahead", without_reading_ahead)
        assert jobs.start("detect", tmp_path / "before", *flags) == 0
    inputs, compiled_step = TrainingCache.inputs, loop.compiled_step
    read_begun, step_begun = ([threading.Event() for _ in range(4)] for _ in range(2))
    reads, steps = iter(range(4)), iter(range(4))

    def slow_read(self, index, weight, chosen):
        if (index >= 0).any():  # it is not for the shapes
            step = next(reads)
            read_begun[step].set()
            assert step == 0 or step_begun[step - 1].wait(SECONDS)
        return inputs(self, index, weight, chosen)

    def slow_step(*settings):
        program, flops = compiled_step(*settings)

        def run(*arguments):
            step = next(steps)
            step_begun[step].set()
            assert step == 3 or read_begun[step + 1].wait(SECONDS)
            return program(*arguments)

        return run, flops

    monkeypatch.setattr(TrainingCache, "inputs", slow_read)
    monkeypatch.setattr(loop, "compiled_step", slow_step)
    assert jobs.start("detect", tmp_path / "ahead", *flags) == 0
    assert all(event.is_set() for event in (*read_begun, *step_begun))
    jobs.assert_same_run(tmp_path / "ahead", tmp_path / "before")


@pytest.mark.slow
def test_the_thread_ends_with_a_training_that_is_stopped_or_fails(tmp_path, monkeypatch, flags):
    with when_logged(monkeypatch, 1, lambda: signal.raise_signal(signal.SIGTERM)):
        assert jobs.start("detect", tmp_path / "run", *flags) == 75
    assert not threads()
    with when_logged(monkeypatch, 2, die), pytest.raises(RuntimeError):
        jobs.start("detect", tmp_path / "run", *flags)
    assert not threads()
