"""Pictures, a pretrained MAE and a trained detector that all tests of the jobs share."""

import logging
import os

import jax
import pytest

from tests import jobs

# Programs of JAX 0.10 compile in half the time without fusion emitters, also in processes that
# tests start. Later versions know no such flag, and end at one that they do not know.
if jax.__version_info__ < (0, 11):
    FLAG = "--xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory, worker_id):
    """Programs that several tests run are compiled once a session, and with little optimisation.

    Test processes beside each other (`pytest -n`) share what they compiled.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_disable_most_optimizations", True)
    return folder


@pytest.fixture(autouse=True)
def fresh_terminal_log(caplog):
    """`caplog` hears the program's lines by a handler of its own, whatever ran before.

    A program that runs in a test's process keeps its lines from the root's handlers. Its own
    handler keeps the stderr that it was made with, which ends with the test.
    """
    log = logging.getLogger("rffr_jax")
    log.handlers[:] = [caplog.handler]
    log.propagate = False
    yield
    log.handlers.clear()


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A folder with the tables train.csv, validation.csv and test.csv of the data set `faces`."""
    root = tmp_path_factory.mktemp("data")
    for seed, split in enumerate(("train", "validation", "test")):
        jobs.draw_faces(root / split, seed=seed)
    return root


@pytest.fixture(scope="session")
def data(faces):
    """The flags that name the data of a training."""
    return (f"data.train=csv:{faces}/train.csv", f"data.validation=csv:{faces}/validation.csv")


@pytest.fixture(scope="session")
def mae(tmp_path_factory, data):
    """The workdir of a finished pretraining."""
    workdir = tmp_path_factory.mktemp("runs") / "pretrain"
    assert jobs.start("pretrain", workdir, *data) == 0
    return workdir


@pytest.fixture(scope="session")
def detector(tmp_path_factory, data, mae):
    """The workdir of a finished detector training on the fakes of `rows`."""
    workdir = tmp_path_factory.mktemp("runs") / "detect"
    assert jobs.start("detect", workdir, *data, f"mae={mae}", "data.methods=rows") == 0
    return workdir
