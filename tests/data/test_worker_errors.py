"""Workers that find no shared memory, or die: one line that says what to do."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from rffr_jax.data import worker_errors
from rffr_jax.data.pipeline import evaluation_batches, train_batches
from rffr_jax.errors import UserError
from rffr_jax.examples import Example

ROOT = pathlib.Path(__file__).parents[2]


class Dying:
    """A dataset whose fifth image ends the process that reads it."""

    examples = tuple(Example(str(i), f"/d/{i}", 0, "d", "real", "v", i, "v") for i in range(64))

    def __init__(self, code):
        self._code = code

    def load(self, index, size):
        if index == 4 and self._code > 0:
            os._exit(self._code)
        if index == 4 and self._code < 0:
            os.kill(os.getpid(), -self._code)
        return np.zeros((size, size, 3), np.uint8)


def read(code, size=8, batch_size=2):
    batches = evaluation_batches(Dying(code), size=size, batch_size=batch_size, workers=1)
    with contextlib.closing(batches):
        return list(batches)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-signal.SIGKILL, "most likely the system because memory ran out; start the same command"),
        pytest.param(-signal.SIGBUS, r"/dev/shm is full; .*--shm-size", marks=pytest.mark.slow),
        pytest.param(-signal.SIGSEGV, "signal SIGSEGV", marks=pytest.mark.slow),
        pytest.param(3, "exit code 3, what it said stands above", marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_dies_is_told(code, message):
    with pytest.raises(UserError, match=f"a data worker died: .*{message}") as died:
        read(code)
    assert "\n" not in str(died.value)


def with_free(monkeypatch, megabytes):
    found = SimpleNamespace(f_bavail=megabytes * 256, f_frsize=4096)
    monkeypatch.setattr(worker_errors.os, "statvfs", lambda _: found)


def train(size, batch_size, steps, workers):
    train_batches(
        Dying(0), size=size, batch_size=batch_size, seed=0, start_step=2, num_steps=steps,
        balanced=False, workers=workers,
    ).close()  # fmt: skip


def test_too_little_shared_memory_is_refused_before_a_worker_starts(monkeypatch):
    with_free(monkeypatch, 64)  # as Docker gives it
    with pytest.raises(UserError) as refused:
        train(224, 128, 1000, workers=2)
    assert str(refused.value) == (
        "data.workers=2 with batches of 128 images of 224 px needs 221 MB of shared memory, and "
        "/dev/shm has 64 MB free; start the container with more (Docker: --shm-size=1g), or set "
        "--config.data.workers=0"
    )
    train(224, 128, 1000, workers=0)
    train(224, 32, 1000, workers=2)
    train(224, 128, 5, workers=2)  # three batches in all
    with pytest.raises(UserError, match=r"data.workers=1 with batches of 16 images of 896 px"):
        evaluation_batches(Dying(0), size=896, batch_size=16, workers=1)


@pytest.mark.slow
def test_the_space_that_is_asked_for_is_enough_and_half_of_it_is_not():
    """In a /dev/shm of this test's own, with a reader that is slower than the workers."""
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-m", "true"]).returncode:
        pytest.skip("no mount namespace without root")
    for megabytes, expected in (("7", "read 40"), ("3", "a data worker died: /dev/shm is full")):
        code = (
            "import contextlib, time\n"
            "from rffr_jax.data import pipeline\n"
            "from tests.data.test_worker_errors import Dying\n"
            "def main():\n"
            "    pipeline.check_shared_memory = lambda *_: None\n"
            "    batches = pipeline.train_batches(Dying(0), size=296, batch_size=2, seed=0,\n"
            "        start_step=0, num_steps=40, balanced=False, workers=2)\n"
            "    with contextlib.closing(batches):\n"
            "        for n, _ in enumerate(batches):\n"
            "            time.sleep(0.05 if n else 4)\n"
            "    print('read', n + 1)\n"
            "if __name__ == '__main__':\n"
            "    main()\n"
        )
        inner = f'mount -t tmpfs -o size={megabytes}m tmpfs /dev/shm && exec "$0" -c "$1"'
        found = subprocess.run(
            [unshare, "-m", "sh", "-c", inner, sys.executable, code],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        assert expected in found.stdout + found.stderr
