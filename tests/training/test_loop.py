"""The loop: resuming, stopping, weights of rows and states that are no longer finite."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from configs import pretrain as pretrain_config
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.data.pipeline import evaluation_batches, train_batches
from rffr_jax.runs.checkpoints.weights import load_weights
from rffr_jax.training import loop, pretrain
from rffr_jax.training.metric_writer import MetricWriter
from rffr_jax.training.pretrain import Pretraining, load_reals
from tests import jobs

ROOT = pathlib.Path(__file__).parents[2]
LATEST = pathlib.Path("checkpoints", "latest")


@contextlib.contextmanager
def when_logged(monkeypatch, step, action):
    """Does something right after the training metrics of a step are written."""
    write = MetricWriter.write

    def write_and_act(self, at, split, values):
        write(self, at, split, values)
        if (at, split) == (step, "train"):
            action()

    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "write", write_and_act)
        yield


def die():
    raise RuntimeError("the machine is gone")


def test_pretraining_that_died_resumes_bit_for_bit(tmp_path, monkeypatch, mae, data):
    with (
        when_logged(monkeypatch, 3, die),
        pytest.raises(RuntimeError, match="the machine is gone"),
    ):
        jobs.start("pretrain", tmp_path, *data)
    assert jobs.saved_steps(tmp_path / LATEST) == [2]
    assert jobs.metric_lines(tmp_path)[-1]["step"] == 3
    assert jobs.start("pretrain", tmp_path, *data) == 0
    jobs.assert_same_run(tmp_path, mae)


def test_detector_training_that_was_stopped_resumes_bit_for_bit(
    tmp_path, monkeypatch, capsys, detector, mae, data
):
    flags = (*data, f"mae={mae}", "data.methods=rows")
    with when_logged(monkeypatch, 3, lambda: signal.raise_signal(signal.SIGTERM)):
        assert jobs.start("detect", tmp_path, *flags) == 75
    assert "stopped at step 3 of 4" in capsys.readouterr().err
    assert jobs.saved_steps(tmp_path / LATEST) == [2, 3]
    assert jobs.start("detect", tmp_path, *flags) == 0
    jobs.assert_same_run(tmp_path, detector)
    best = pathlib.Path("checkpoints", "best", "faces")
    assert (tmp_path / "best.json").read_text() == (detector / "best.json").read_text()
    assert jobs.saved_steps(tmp_path / best) == jobs.saved_steps(detector / best)


@pytest.mark.slow
def test_the_log_compiles_nothing_new(tmp_path, monkeypatch, data):
    init_totals, traced = loop.init_totals, []
    monkeypatch.setattr(loop, "init_totals", lambda names: traced.append(1) or init_totals(names))
    monkeypatch.setattr(Pretraining, "evaluate", lambda *_: {})
    assert jobs.start("pretrain", tmp_path, *data, "steps=6") == 0
    assert len(jobs.metric_lines(tmp_path)) == 6
    assert len(traced) <= 3  # the shapes, the first state and, once, what the log puts there


@pytest.mark.slow
def test_a_run_goes_on_with_other_intervals_and_workers(tmp_path, monkeypatch, data, mae):
    with when_logged(monkeypatch, 3, die), pytest.raises(RuntimeError):
        jobs.start("pretrain", tmp_path, *data)
    assert jobs.start("pretrain", tmp_path, *data, "data.cache=True", "save_every=1") == 0
    jobs.assert_same_run(tmp_path, mae)


def test_a_finished_run_is_left_as_it_is(mae, data, monkeypatch):
    before = (mae / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(loop, "compiled_step", die)
    assert jobs.start("pretrain", mae, *data) == 0
    assert (mae / "metrics.jsonl").read_bytes() == before


def test_a_state_that_is_not_finite_is_never_saved(tmp_path, monkeypatch, capsys, data):
    put_batch, seen = loop.put_batch, []

    def broken_third_batch(batch, mesh):
        seen.append(batch)
        if len(seen) == 3:
            batch = {**batch, "weight": np.full_like(batch["weight"], np.nan)}
        return put_batch(batch, mesh)

    monkeypatch.setattr(loop, "put_batch", broken_third_batch)
    assert jobs.start("pretrain", tmp_path, *data, "log_every=100") == 2
    assert "no longer finite at step 4" in capsys.readouterr().err.splitlines()[-1]
    assert jobs.saved_steps(tmp_path / LATEST) == [2]
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["000002.png"]
    for part in ("parameters", "training"):
        for array in jobs.saved_arrays(tmp_path / LATEST / "2", part).values():
            assert np.isfinite(array).all()


def test_a_step_that_copies_to_a_device_unasked_is_an_error(tmp_path, monkeypatch, data):
    inputs = Pretraining.inputs

    def careless(self, step, batch, rows):
        return {**inputs(self, step, batch, rows), "weight": np.asarray(jax.numpy.ones(4) * 1.0)}

    monkeypatch.setattr(loop, "check_settings", lambda *_: None)
    monkeypatch.setattr(pretrain, "check_settings", lambda *_: None)
    monkeypatch.setattr(loop, "compiled_step", lambda *_: (die, 0))
    monkeypatch.setattr(Pretraining, "inputs", careless)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        jobs.start("pretrain", tmp_path, *data)


@pytest.mark.slow
def test_weights_that_overflow_in_the_last_step_are_not_saved(tmp_path, capsys, data):
    steep = ("optimizer.learning_rate=1e38", "optimizer.weight_decay=100.0")
    flags = ("steps=1", "optimizer.schedule=constant", "optimizer.warmup_steps=0", *steep)
    assert jobs.start("pretrain", tmp_path, *data, *flags, "log_every=100") == 2
    assert "lower optimizer.learning_rate" in capsys.readouterr().err.splitlines()[-1]
    assert jobs.saved_steps(tmp_path / LATEST) == []


def test_a_bad_file_and_padding_have_no_influence(tmp_path):
    """The logged losses are the means over the good rows, computed here without weights."""
    for seed, (split, reals) in enumerate({"train": 4, "validation": 6}.items()):
        jobs.draw_faces(tmp_path / split, seed=seed, reals=reals)
        (tmp_path / split / "real2.png").write_bytes(b"no image")
    specs = {split: f"csv:{tmp_path}/{split}.csv" for split in ("train", "validation")}
    flags = [f"data.{split}={spec}" for split, spec in specs.items()]
    workdir = tmp_path / "run"
    assert jobs.start("pretrain", workdir, *flags, "data.max_bad_fraction=0.5") == 0
    lines = jobs.metric_lines(workdir)

    config = pretrain_config.get_config()
    config.model.update({"size": "tiny", "image_size": jobs.SIZE, "patch_size": jobs.PATCH})
    config.blocks.k, config.batch_size = 2, 4
    config.data.train, config.data.validation = (specs["train"],), (specs["validation"],)
    objective = Pretraining(config, tmp_path, make_mesh())
    losses_of = jax.jit(objective.losses)

    def mean_over_good_rows(parameters, batches):
        means = []
        for number, batch in enumerate(batches):
            losses, _ = losses_of(parameters, (), objective.inputs(number, batch, slice(0, 4)))
            means.append(np.asarray(losses["loss"])[batch["weight"] > 0])
        assert sum(map(len, means)) == {1: 3, 2: 5}[len(means)]
        return float(np.concatenate(means).mean())

    shape = {"size": jobs.SIZE, "batch_size": 4}
    run = {"seed": 0, "start_step": 0, "num_steps": 1, "balanced": False}
    with contextlib.closing(train_batches(objective.dataset, **shape, **run)) as batches:
        expected = mean_over_good_rows(objective.init_parameters(), list(batches))
    assert lines[0]["loss"] == pytest.approx(expected, rel=1e-5)

    abstract = jax.eval_shape(objective.init_parameters)
    trained = load_weights(workdir, "mae", abstract, make_mesh())
    validation = load_reals(config.data.validation, "validation")
    with contextlib.closing(evaluation_batches(validation, **shape)) as batches:
        expected = mean_over_good_rows(trained, list(batches))
    last = [line for line in lines if line["split"] == "validation"][-1]
    assert last["loss"] == pytest.approx(expected, rel=1e-5)


def test_only_the_pictures_of_the_sample_sheet_are_reconstructed(tmp_path, faces, monkeypatch):
    config = pretrain_config.get_config()
    config.model.update({"size": "tiny", "image_size": jobs.SIZE, "patch_size": jobs.PATCH})
    config.blocks.k, config.batch_size = 2, 40
    config.data.train = config.data.validation = (f"csv:{faces}/train.csv",)
    objective, shapes = Pretraining(config, tmp_path, make_mesh()), []

    def reconstruct(parameters, images):
        shapes.append(images.shape)
        return images / 255.0, images / 255.0

    monkeypatch.setattr(objective, "_reconstruct", reconstruct)
    images = np.zeros((40, jobs.SIZE, jobs.SIZE, 3), np.uint8)
    objective._draw_samples({}, images, step=1)
    assert shapes == [(pretrain.SAMPLES, jobs.SIZE, jobs.SIZE, 3)]
    assert (tmp_path / "samples" / "000001.png").exists()


GROUP = """
import sys
from tests import jobs

if __name__ == "__main__":
    sys.exit(jobs.start("pretrain", *sys.argv[1:]))
"""


def members_of_group(group):
    """The processes of a group that have not ended."""
    stats = (path.read_text() for path in pathlib.Path("/proc").glob("[0-9]*/stat"))
    fields = (stat.rpartition(")")[2].split() for stat in stats)
    return [entry for entry in fields if entry[2] == str(group) and entry[0] != "Z"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_to_the_process_group_saves_with_workers_too(tmp_path, data, name):
    script, workdir = tmp_path / "group.py", tmp_path / "run"
    script.write_text(GROUP)
    flags = (*data, "data.workers=1", "steps=1000000", "evaluate_every=1000000")
    with subprocess.Popen(
        [sys.executable, str(script), str(workdir), *flags],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as run:
        try:
            end = time.monotonic() + 100
            while not (workdir / "metrics.jsonl").exists() or len(jobs.metric_lines(workdir)) < 2:
                assert run.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
            os.killpg(run.pid, signal.Signals[name])
            _, error = run.communicate(timeout=60)
            assert run.returncode == 75, error
            assert "Traceback" not in error
            assert jobs.saved_steps(workdir / LATEST)
            end = time.monotonic() + 20
            while members := members_of_group(run.pid):
                assert time.monotonic() < end, f"still there: {members}"
                time.sleep(0.1)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
