import json
import os
import signal
import threading
import time

import pytest
from ml_collections import ConfigDict

from rffr_jax.cluster.interruption import InterruptedRunError
from rffr_jax.errors import UserError
from rffr_jax.experiments import trainer
from rffr_jax.experiments.grid import Run
from rffr_jax.experiments.stored_config import get_config
from rffr_jax.runs.lock import locked


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    called = []

    class Job:
        @staticmethod
        def run(config, folder):
            called.append(config.number)
            print("said", config.number)
            if config.number == 2 and len(called) == 2:
                raise InterruptedRunError("stopped")

    monkeypatch.setattr(trainer.importlib, "import_module", lambda _: Job)
    runs = [Run(ConfigDict({"job": "detect", "number": n}), tmp_path / str(n)) for n in (1, 2, 3)]
    with pytest.raises(InterruptedRunError):
        trainer.run_all(runs, at_once=1)
    assert [trainer.is_done(run.folder) for run in runs] == [True, False, False]
    before = trainer.seconds_of(runs[1].folder)
    assert before > 0
    trainer.run_all(runs, at_once=1)
    assert called == [1, 2, 2, 3]
    assert all(trainer.is_done(run.folder) for run in runs)
    assert trainer.seconds_of(runs[1].folder) > before
    assert (tmp_path / "3" / "log.txt").read_text() == "said 3\n"


def test_a_config_comes_back_from_json(tmp_path):
    config = ConfigDict(
        {"job": "detect", "mean": (0.1, 0.2), "inner": {"names": ("a",), "on": True}}
    )
    file = tmp_path / "asked.json"
    file.write_text(json.dumps(config.to_dict()))
    assert get_config(str(file)) == config


def sleeping(tmp_path, monkeypatch, script):
    """Children that run a shell script in place of the program."""
    real = trainer.subprocess.Popen

    def start(command, **settings):
        return real(["/bin/sh", "-c", script], **settings)

    monkeypatch.setattr(trainer.subprocess, "Popen", start)
    return [Run(ConfigDict({"job": "detect", "n": n}), tmp_path / str(n)) for n in range(4)]


def test_processes_see_a_gpu_each(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    script = "echo $CUDA_VISIBLE_DEVICES; sleep 0.5"
    runs = sleeping(tmp_path, monkeypatch, script)
    trainer.run_all(runs, at_once=2)
    seen = [(run.folder / "log.txt").read_text().strip() for run in runs]
    assert sorted(seen[:2]) == ["4", "7"]
    assert {*seen} == {"4", "7"}
    assert all(trainer.is_done(run.folder) for run in runs)


def test_more_processes_than_gpus_share_them(monkeypatch):
    monkeypatch.setattr(trainer.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(trainer.jax, "local_device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    places = [trainer._place(number)["CUDA_VISIBLE_DEVICES"] for number in range(4)]
    assert places == ["0", "1", "0", "1"]


def test_a_run_that_fails_stops_the_others_and_is_named(tmp_path, monkeypatch):
    script = 'mkdir {0} && echo "rffr_jax: no such data" && exit 2; exec sleep 60'
    runs = sleeping(tmp_path, monkeypatch, script.format(tmp_path / "first"))
    start = time.monotonic()
    with pytest.raises(UserError, match="ended with code 2: no such data"):
        trainer.run_all(runs, at_once=2)
    assert time.monotonic() - start < 30
    assert not any(trainer.is_done(run.folder) for run in runs)


@pytest.mark.parametrize("trap", ["trap 'exit 75' TERM", "trap - TERM"])
def test_a_signal_lets_children_save(tmp_path, monkeypatch, trap):
    script = trap + "; touch {0}/$$; while :; do sleep 0.1; done"
    runs = sleeping(tmp_path, monkeypatch, script.format(tmp_path))

    def stop():
        while sum(name.isdigit() and len(name) > 1 for name in os.listdir(tmp_path)) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(InterruptedRunError):
        trainer.run_all(runs, at_once=2)
    assert not any(trainer.is_done(run.folder) for run in runs)


def test_a_child_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SECONDS_TO_SAVE", 1.0)
    script = "mkdir {0} && exit 2; trap '' TERM; while :; do sleep 0.1; done"
    runs = sleeping(tmp_path, monkeypatch, script.format(tmp_path / "first"))
    with pytest.raises(UserError, match="ended with code 2"):
        trainer.run_all(runs, at_once=2)


def test_a_run_that_another_program_is_at_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_QUESTIONS", 0.05)
    called = []

    class Job:
        @staticmethod
        def run(config, folder):
            called.append(folder)

    monkeypatch.setattr(trainer.importlib, "import_module", lambda _: Job)
    run = Run(ConfigDict({"job": "detect"}), tmp_path / "run")
    with locked(run.folder):
        other = threading.Thread(target=trainer.run_all, args=([run], 1))
        other.start()
        time.sleep(0.3)
        assert not called
        trainer.write_json(run.folder / trainer.RECORD, {"done": True, "seconds": 1.0})
    other.join(30)
    assert not other.is_alive()
    assert not called
