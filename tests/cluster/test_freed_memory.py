"""Freed memory is kept where that is faster, and only there."""

import os
import pickle
import subprocess
import sys

import pytest

from configs import detect, quickstart
from rffr_jax import main
from rffr_jax.cluster import freed_memory
from rffr_jax.cluster.freed_memory import (
    ARENA_BYTES,
    VARIABLE,
    description,
    keep_freed_memory,
    why_not,
)
from rffr_jax.experiments import worker_config
from rffr_jax.experiments.worker import Run
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.training.step_memory import training_step_bytes

FAULTS = """
import resource, sys, threading
import numpy as np
from rffr_jax.cluster.freed_memory import keep_freed_memory

print(keep_freed_memory(int(sys.argv[1])))
def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(5 * 2**20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
thread = threading.Thread(target=faults)
thread.start()
thread.join()
"""
on_glibc = pytest.mark.skipif(why_not({}) != "", reason=f"here {why_not({})}")


@on_glibc
@pytest.mark.parametrize("step_bytes", [ARENA_BYTES - 1, ARENA_BYTES])
def test_a_block_that_is_freed_is_taken_again_without_page_faults(step_bytes):
    """In a thread, as XLA allocates; 40 MB four times, in pages of the usual size."""
    faults = {}
    for switch in ("1", "0"):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, str(step_bytes)],
            env={**os.environ, VARIABLE: switch, "NUMPY_MADVISE_HUGEPAGE": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
        said, faults[switch] = done.stdout.splitlines()
        assert ("is kept" in said) == (switch == "1")
    assert int(faults["0"]) > 3 * int(faults["1"]) > 0


def test_other_systems_stay_as_they_are(monkeypatch):
    assert why_not({VARIABLE: "0"}) == f"{VARIABLE}=0"
    monkeypatch.setattr(freed_memory, "_ACCELERATORS", ("/dev/null",))
    assert why_not({}) == "a GPU or TPU computes"

    def no_glibc(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", no_glibc)
    assert why_not({"JAX_PLATFORMS": "cpu"}) == "the C library is not glibc"
    monkeypatch.setattr(freed_memory, "_description", "")
    said = keep_freed_memory(1)
    assert said.startswith("freed memory is returned to the system: the C library")
    assert description() == said


@pytest.mark.parametrize(
    ("size", "pixels", "patch", "images", "measured"),
    [("mini", 64, 8, 16, 35e6), ("vit_s16", 224, 16, 4, 0.9e9), ("vit_b16", 224, 16, 4, 2.1e9)],
)
def test_the_memory_of_a_step_is_estimated_well_enough(size, pixels, patch, images, measured):
    """Beside what XLA allocated for steps of `pretrain`."""
    estimate = training_step_bytes(ModelSettings(size, pixels, patch), images)
    assert measured / 2 < estimate < 2 * measured


def test_the_largest_training_of_a_job_decides(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(freed_memory, "keep_freed_memory", asked.append)
    config = quickstart.get_config()
    main._keep_freed_memory(config)
    main._keep_freed_memory(detect.get_config())
    small = training_step_bytes(ModelSettings(**config.detect.model), config.detect.batch_size)
    large = training_step_bytes(ModelSettings("vit_b16", 224, 16), 32)
    rival = detect.get_config("uia_vit")
    main._keep_freed_memory(rival)
    assert asked == [small, large, 3 * large]  # its batch of 96
    asked.pop()
    jobs = (config.pretrain, detect.get_config(), config.evaluate)
    runs = tmp_path / "runs.pickle"
    runs.write_bytes(pickle.dumps([Run(job, tmp_path) for job in jobs]))
    main._keep_freed_memory(worker_config.get_config(str(runs)))
    assert asked[2:] == [large]
