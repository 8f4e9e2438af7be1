"""Workers that share the runs of an experiment, with stand-ins for the runs."""

import dataclasses
import os
import pickle
import signal
import sys
import threading
import time

import pytest
from ml_collections import ConfigDict

from rffr_jax.cluster.interruption import InterruptedRunError
from rffr_jax.errors import UserError
from rffr_jax.experiments import worker
from rffr_jax.experiments.worker import Run
from rffr_jax.runs.atomic_files import write_json
from rffr_jax.runs.lock import try_lock
from rffr_jax.runs.run_record import RECORD, read_record


def runs_in(folder, count, prerequisites=()):
    return [
        Run(ConfigDict({"job": "detect", "n": n}), folder / str(n), tuple(prerequisites))
        for n in range(count)
    ]


@pytest.fixture
def stand_in(monkeypatch):
    """A run that calls whatever is put into `do`."""

    class Job:
        @staticmethod
        def do(number, folder):
            raise NotImplementedError

        @staticmethod
        def run(config, folder):
            Job.do(config.n, folder)

    monkeypatch.setattr(worker.importlib, "import_module", lambda _: Job)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.02)
    return Job


def test_what_is_done_is_not_done_again(tmp_path, stand_in):
    called = []

    def do(number, folder):
        called.append(number)
        print("said", number)
        if number == 1 and len(called) == 2:
            raise InterruptedRunError("stopped")

    stand_in.do = do
    runs = runs_in(tmp_path, 3)
    with pytest.raises(InterruptedRunError):
        worker.run_all(runs, 1, tmp_path)
    assert [worker.is_done(run) for run in runs] == [True, False, False]
    before = read_record(runs[1].folder)["seconds"]
    assert before > 0
    worker.run_all(runs, 1, tmp_path)
    assert called == [0, 1, 1, 2]
    assert all(worker.is_done(run) for run in runs)
    assert read_record(runs[1].folder)["seconds"] > before
    assert (tmp_path / "2" / "log.txt").read_text() == "said 2\n"


def test_a_run_of_other_data_is_not_taken_as_done(tmp_path, stand_in):
    stand_in.do = lambda number, folder: None
    (run,) = runs_in(tmp_path, 1)
    worker.run_all([dataclasses.replace(run, key="a")], 1, tmp_path)
    worker.run_all([dataclasses.replace(run, key="a")], 1, tmp_path)
    with pytest.raises(UserError, match="other settings or other data"):
        worker.run_all([dataclasses.replace(run, key="b")], 1, tmp_path)


def test_two_workers_share_the_runs_and_do_none_twice(tmp_path, stand_in):
    called = []

    def do(number, folder):
        called.append(number)
        time.sleep(0.05)

    stand_in.do = do
    runs = runs_in(tmp_path, 8)
    workers = [threading.Thread(target=worker.work_through, args=(runs,)) for _ in range(2)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(120)
        assert not one.is_alive()
    assert sorted(called) == list(range(8))


def test_a_run_that_another_worker_is_at_is_waited_for(tmp_path, stand_in):
    called = []
    stand_in.do = lambda number, folder: called.append(number)
    first, second = runs_in(tmp_path, 2)
    second = Run(second.config, second.folder, (first.folder,))
    first.folder.mkdir()
    with try_lock(first.folder / ".worker") as free:
        assert free
        waits = threading.Thread(target=worker.work_through, args=([first, second],))
        waits.start()
        time.sleep(0.3)
        assert not called
        write_json(first.folder / RECORD, {"done": True, "seconds": 1.0})
    waits.join(120)
    assert not waits.is_alive()
    assert called == [1]


def test_a_mistake_names_its_run(tmp_path, stand_in):
    def do(number, folder):
        raise UserError("no such data")

    stand_in.do = do
    with pytest.raises(UserError, match=rf"no such data \(the run in {tmp_path}/0\)"):
        worker.run_all(runs_in(tmp_path, 2), 1, tmp_path)


def test_a_process_gets_the_very_config():
    config = {"job": "detect", "mean": (0.1, 0.2), "inner": {"names": ("a",), "on": True}}
    (run,) = runs_in(worker.pathlib.Path("runs"), 1, [worker.pathlib.Path("needed")])
    run = Run(ConfigDict(config), run.folder, run.prerequisites)
    assert pickle.loads(pickle.dumps(run)) == run


# ---- processes


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Starts shell scripts in place of workers."""
    real = worker.subprocess.Popen

    def scripted(script):
        def start(command, **settings):
            return real(["/bin/sh", "-c", script], **settings)

        monkeypatch.setattr(worker.subprocess, "Popen", start)
        monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
        return runs_in(tmp_path / "runs", 4)

    return scripted


def test_workers_see_a_gpu_each(tmp_path, monkeypatch, shell):
    monkeypatch.setattr(worker.jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    runs = shell(f"echo $CUDA_VISIBLE_DEVICES >> {tmp_path}/seen")
    worker.run_all(runs, 2, tmp_path)
    assert sorted((tmp_path / "seen").read_text().split()) == ["4", "7"]
    assert not (tmp_path / "workers").exists()


def test_more_workers_than_gpus_share_them(monkeypatch):
    monkeypatch.setattr(worker.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(worker.jax, "local_device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = [worker._gpu_environment(number)["CUDA_VISIBLE_DEVICES"] for number in range(4)]
    assert gpus == ["0", "1", "0", "1"]


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [(2, UserError, "^no such data$"), (1, RuntimeError, "ended with code 1: no such data")],
)
def test_a_worker_that_fails_stops_the_others(tmp_path, shell, code, error, said):
    runs = shell(
        f'mkdir {tmp_path}/first && echo "rffr_jax: no such data" && exit {code}; exec sleep 60'
    )
    start = time.monotonic()
    with pytest.raises(error, match=said):
        worker.run_all(runs, 2, tmp_path)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("trap", ["trap 'exit 75' TERM", "trap - TERM"])
def test_a_signal_lets_workers_save(tmp_path, shell, trap):
    runs = shell(f"{trap}; touch {tmp_path}/$$; while :; do sleep 0.1; done")

    def stop():
        while sum(name.isdigit() for name in os.listdir(tmp_path)) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(InterruptedRunError):
        worker.run_all(runs, 2, tmp_path)


def test_a_worker_that_does_not_stop_is_killed(tmp_path, monkeypatch, shell):
    monkeypatch.setattr(worker, "STOP_TIMEOUT", 1.0)
    runs = shell(f"mkdir {tmp_path}/first && exit 2; trap '' TERM; while :; do sleep 0.1; done")
    with pytest.raises(UserError, match="it said nothing"):
        worker.run_all(runs, 2, tmp_path)


@pytest.mark.slow
def test_processes_work_through_a_list(tmp_path, monkeypatch):
    """Real workers, whose runs are mistakes, so that they end soon."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    config = ConfigDict({"job": "evaluate", "data": {"tests": "csv:none.csv"}})
    runs = [Run(config, tmp_path / f"runs/{number}") for number in range(2)]
    with pytest.raises(UserError, match=r"none\.csv.*\(the run in .*runs/\d\)$"):
        worker.run_all(runs, 2, tmp_path)
