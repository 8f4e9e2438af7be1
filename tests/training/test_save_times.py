"""When a run saves."""

import threading

import pytest

from rffr_jax.runs.checkpoints import manager
from rffr_jax.training import save_times
from rffr_jax.training.save_times import SaveTimes
from tests import jobs

LATEST = "checkpoints/latest"


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves, in seconds."""
    now = [100.0]
    monkeypatch.setattr(save_times.time, "monotonic", lambda: now[0])
    return now


def test_minutes_are_counted_from_the_last_save(clock):
    times = SaveTimes(every=0, minutes=10.0)
    for seconds, expected in ((599, False), (1, True), (0, True)):
        clock[0] += seconds
        times.ask()
        assert times.is_due(7) == expected
    times.saved()
    assert not times.is_due(8)
    clock[0] += 599
    times.ask()
    assert not times.is_due(9)


def test_steps_alone(clock):
    times = SaveTimes(every=3, minutes=0.0)
    clock[0] += 1e6
    times.ask()
    assert [step for step in range(1, 10) if times.is_due(step)] == [3, 6, 9]


@pytest.mark.parametrize("first", [True, False])
def test_process_0_decides_for_all(clock, monkeypatch, first):
    monkeypatch.setattr(
        save_times.processes, "all_gather_objects", lambda mine: [first, mine, not first]
    )
    times = SaveTimes(every=0, minutes=1.0)
    times.ask()
    assert times.is_due(1) == first


def test_a_run_saves_at_log_steps_when_it_is_time_and_at_its_end(tmp_path, mae, data):
    threads = []
    write = manager.write_checksums
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            manager,
            "write_checksums",
            lambda checkpoint: (threads.append(threading.current_thread()), write(checkpoint)),
        )
        for minutes, expected in (("1e-9", [2, 4]), ("0", [4])):
            workdir = tmp_path / minutes
            flags = ("save_every=0", f"save_minutes={minutes}", "log_every=2")
            assert jobs.start("pretrain", workdir, *data, *flags) == 0
            assert jobs.saved_steps(workdir / LATEST) == expected
            folders = [run / LATEST / "4" / "parameters" for run in (workdir, mae)]
            assert all(folder.is_dir() for folder in folders)
            jobs.assert_same_arrays(*(jobs.saved_arrays(f.parent) for f in folders))
    # The training does not wait for the checksums.
    assert threads
    assert threading.main_thread() not in threads
