"""Batches: the same rows whatever the processes, workers and the step to start at."""

import contextlib
import errno
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.pipeline import evaluation_batches, train_batches
from rffr_jax.data.sampling import BalancedSampler, UniformSampler
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.examples import Example

ROOT = pathlib.Path(__file__).parents[2]
SIZE = 24
BAD = "fake/A/1.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six reals, two fakes of A and three of B, each of its own grey; one fake is no image."""
    root = tmp_path_factory.mktemp("faces")
    names = [f"real/{i}.png" for i in range(6)]
    names += [f"fake/A/{i}.png" for i in range(2)] + [f"fake/B/{i}.png" for i in range(3)]
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (SIZE, SIZE), 10 + number).save(root / name)
    (root / BAD).write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset(f"folder:{folder}")


def train(dataset, **changes):
    options = {"batch_size": 4, "seed": 0, "start_step": 0, "num_steps": 6, "balanced": True}
    with contextlib.closing(train_batches(dataset, size=SIZE, **(options | changes))) as batches:
        return list(batches)


def evaluate(dataset, **options):
    with contextlib.closing(evaluation_batches(dataset, size=SIZE, **options)) as batches:
        return list(batches)


class FailingDisk:
    """A dataset whose third image lies on a disk that fails."""

    name = "d"
    examples = tuple(Example(str(i), f"/d/{i}.png", 0, "d", "real", "v", i, "v") for i in range(4))

    def load(self, index, size):
        if index == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return np.zeros((size, size, 3), np.uint8)


def assert_same(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])
            assert value.dtype == other[name].dtype


def test_a_batch_holds_what_its_index_says(dataset):
    for batch in train(dataset):
        assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
            "image": ((4, SIZE, SIZE, 3), np.uint8),
            "label": ((4,), np.int32),
            "weight": ((4,), np.float32),
            "index": ((4,), np.int32),
        }
        for row, index in enumerate(batch["index"].tolist()):
            example = dataset.examples[index]
            assert batch["label"][row] == example.label
            if example.id == BAD:
                assert batch["weight"][row] == 0
                assert not batch["image"][row].any()
            else:
                assert batch["weight"][row] == 1
                np.testing.assert_array_equal(batch["image"][row], dataset.load(index, SIZE))


@pytest.mark.parametrize("balanced", [True, False])
def test_rows_are_those_of_the_sampler(dataset, balanced):
    sampler = (BalancedSampler if balanced else UniformSampler)(dataset.examples, 4, 0)
    rows = [[sampler.index(step, row) for row in range(4)] for step in range(6)]
    batches = train(dataset, balanced=balanced)
    assert [batch["index"].tolist() for batch in batches] == rows


def test_a_run_resumes_at_any_step(dataset):
    whole = train(dataset)
    for start in (1, 4, 6):
        assert_same(train(dataset, start_step=start), whole[start:])


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_global_batch(dataset, count):
    for read in (train, lambda data, **options: evaluate(data, batch_size=4, **options)):
        shares = [read(dataset, process_index=p, process_count=count) for p in range(count)]
        joined = [
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            for parts in zip(*shares, strict=True)
        ]
        assert_same(joined, read(dataset))


@pytest.mark.parametrize("batch_size", [1, 4, 11, 16])
def test_evaluation_sees_every_example_once_in_order(dataset, batch_size):
    batches = evaluate(dataset, batch_size=batch_size)
    assert {batch["image"].shape for batch in batches} == {(batch_size, SIZE, SIZE, 3)}
    index, weight, label = (
        np.concatenate([batch[name] for batch in batches]) for name in ("index", "weight", "label")
    )
    count = len(dataset.examples)
    assert index[:count].tolist() == list(range(count))
    assert label[:count].tolist() == [example.label for example in dataset.examples]
    assert (index[count:] == -1).all()
    assert not weight[count:].any()
    bad = [example.id for example in dataset.examples].index(BAD)
    assert np.flatnonzero(weight[:count] == 0).tolist() == [bad]


def test_worker_processes_change_nothing_and_are_gone_afterwards(dataset):
    # Left in the middle: what the workers had read ahead must not hold them back.
    options = {"size": SIZE, "batch_size": 4, "seed": 0, "balanced": True}
    before = set(multiprocessing.active_children())
    batches = train_batches(dataset, start_step=1, num_steps=100, workers=2, **options)
    with contextlib.closing(batches):
        found = [next(batches) for _ in range(5)]
        assert len(set(multiprocessing.active_children()) - before) == 2
    assert_same(found, train(dataset)[1:6])
    assert not set(multiprocessing.active_children()) - before


def test_mistakes_are_told_at_once_and_not_at_the_first_batch(dataset):
    options: dict[str, Any] = {"size": SIZE, "seed": 0, "start_step": 0, "num_steps": 1}
    with pytest.raises(UserError, match="batch size 3 is odd"):
        train_batches(dataset, batch_size=3, balanced=True, **options)
    with pytest.raises(UserError, match="take a multiple of 3"):
        train_batches(dataset, batch_size=4, balanced=True, process_count=3, **options)
    with pytest.raises(UserError, match="batch size 0"):
        evaluation_batches(dataset, size=SIZE, batch_size=0)


SIGNALLED = """
import contextlib, multiprocessing, os, signal, sys, threading
from rffr_jax.examples import Example
from rffr_jax.data.pipeline import train_batches
from rffr_jax.data.specs import load_dataset

if __name__ == "__main__":
    seen = []
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    for name in names:
        signal.signal(name, lambda number, frame: seen.append(number))
    batches = train_batches(
        load_dataset(sys.argv[1]), size=24, batch_size=4, seed=0, start_step=0, num_steps=100,
        balanced=True, workers=2,
    )
    timers = [threading.Timer(s, os.killpg, (0, names[0])) for s in (0.1, 0.3, 0.6, 1.0, 1.5)]
    for timer in timers:  # while the workers start
        timer.start()
    with contextlib.closing(batches):
        next(batches)
        for timer in timers:
            timer.join()
        for name in names[1:]:
            os.killpg(0, name)
            for _ in range(20):
                next(batches)
        pids = [child.pid for child in multiprocessing.active_children()]
        if "orphans" in sys.argv:
            print(*pids, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    print(sorted(set(seen)) == sorted(names), len(pids), len(multiprocessing.active_children()))
"""


def signalled(tmp_path, *arguments):
    """Runs SIGNALLED in a process group of its own."""
    script = tmp_path / "signalled.py"
    script.write_text(SIGNALLED)
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_signals_to_the_process_group_leave_the_workers_reading(tmp_path, folder):
    found = signalled(tmp_path, f"folder:{folder}")
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr  # Grain may say that it left shared memory to be freed
    assert found.stdout == "True 2 0\n"


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path, folder):
    found = signalled(tmp_path, f"folder:{folder}", "orphans")
    assert found.returncode == -signal.SIGKILL
    workers = found.stdout.split()
    assert len(workers) == 2
    end = time.monotonic() + 10
    while any(pathlib.Path("/proc", worker).exists() for worker in workers):
        assert time.monotonic() < end, f"still there: {workers}"
        time.sleep(0.1)


def test_failing_disk_ends_the_run_and_is_no_bad_file():
    with pytest.raises(UserError) as caught:
        evaluate(FailingDisk(), batch_size=2)
    assert str(caught.value).startswith("/d/2.png cannot be read: Input/output error; ")
    assert "\n" not in str(caught.value)
