"""One update: micro-batches, the average of the weights, and what the state holds."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.training.step import (
    ema_decay_at,
    init_training_state,
    make_step,
)
from tests import jobs

LATEST = "checkpoints/latest"


def losses(parameters, frozen, batch):
    """Of a linear model with one weight too many, so that every row matters."""
    error = jnp.tanh(batch["x"]) @ parameters["kernel"] - frozen * batch["y"]
    return {"loss": 0.75 * error**2, "rest": 0.25 * error**2}, {}


def problem(seed, rows=12):
    rng = np.random.default_rng(seed)
    parameters = {"kernel": rng.normal(size=5).astype(np.float32)}
    batch = {
        "x": rng.normal(size=(rows, 5)).astype(np.float32),
        "y": rng.normal(size=rows).astype(np.float32),
        "weight": rng.integers(0, 2, rows).astype(np.float32),
    }
    return parameters, batch


def stepped(parameters, batch, optimizer, *, steps=1, **options):
    options = {"micro_batches": 1, "ema_decay": 0.0, **options}
    step = jax.jit(make_step(losses, optimizer, make_mesh(), **options))
    state = {
        "parameters": parameters,
        **init_training_state(optimizer, options["ema_decay"], parameters, ("loss", "rest")),
    }
    states = []
    for _ in range(steps):
        state = step(state, jnp.float32(1.5), batch)
        states.append(state)
    return states


@pytest.mark.parametrize("micro_batches", [1, 2, 3, 12])
def test_micro_batches_give_the_mean_over_the_rows_that_count(micro_batches):
    """Against the gradient in float64, with rows of weight 0 spread unevenly over the parts."""
    parameters, batch = problem(seed=micro_batches)
    (state,) = stepped(parameters, batch, optax.sgd(1.0), micro_batches=micro_batches)
    x, y, weight = (batch[name].astype(np.float64) for name in ("x", "y", "weight"))
    kernel = parameters["kernel"].astype(np.float64)
    error = np.tanh(x) @ kernel - 1.5 * y
    expected = kernel - 2 * (weight * error) @ np.tanh(x) / weight.sum()
    np.testing.assert_allclose(state["parameters"]["kernel"], expected, rtol=1e-5, atol=1e-6)
    loss = (weight * error**2).sum() / weight.sum()
    np.testing.assert_allclose(state["totals"]["loss"], 0.75 * loss, rtol=1e-5)
    np.testing.assert_allclose(state["totals"]["rest"], 0.25 * loss, rtol=1e-5)


def test_totals_hold_the_norms_of_gradients_and_updates():
    parameters, batch = problem(seed=3)
    states = stepped(parameters, batch, optax.sgd(0.1), steps=2)
    kernels = [parameters["kernel"], *(state["parameters"]["kernel"] for state in states)]
    updates = np.linalg.norm(np.diff(np.asarray(kernels, np.float64), axis=0), axis=1)
    totals = states[-1]["totals"]
    assert totals["count"] == 2
    np.testing.assert_allclose(totals["update_norm"], updates.sum(), rtol=1e-5)
    np.testing.assert_allclose(totals["gradient_norm"], updates.sum() / 0.1, rtol=1e-5)


def test_a_gradient_that_overflows_is_noticed_although_the_loss_is_finite():
    parameters, batch = problem(seed=3)
    (state,) = stepped(parameters, batch, optax.sgd(1e30))
    assert state["finite"]
    assert np.isfinite(state["parameters"]["kernel"]).all()
    huge = {"kernel": np.full(5, 1e19, np.float32)}
    (state,) = stepped(huge, {**batch, "x": batch["x"] * 0 + 10}, optax.sgd(1.0))
    assert not state["finite"]


def test_a_batch_without_any_usable_row_changes_nothing():
    parameters, batch = problem(seed=0)
    batch["weight"] = np.zeros_like(batch["weight"])
    (state,) = stepped(parameters, batch, optax.sgd(1.0), micro_batches=3)
    np.testing.assert_array_equal(state["parameters"]["kernel"], parameters["kernel"])


def following(parameters, frozen, batch):
    """A model with a running mean of its input, as batch normalisation keeps it."""
    error = batch["x"] @ parameters["kernel"] - batch["y"]
    mean = 0.9 * parameters["norm"]["mean"] + 0.1 * batch["x"].mean(axis=0)
    return {"loss": error**2}, {"norm": {"mean": mean}}


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_running_statistics_follow_the_batch_and_no_gradient(micro_batches):
    """They take the mean over equal parts, which is that of the batch; Adam leaves them alone."""
    (parameters, batch), (_, other) = problem(seed=8), problem(seed=9)
    start = np.random.default_rng(1).normal(size=5).astype(np.float32)
    parameters |= {"norm": {"mean": start, "scale": np.ones(5, np.float32)}}
    optimizer = optax.adamw(0.1)
    step = jax.jit(
        make_step(following, optimizer, make_mesh(), micro_batches=micro_batches, ema_decay=0.5)
    )
    state = {"parameters": parameters, **init_training_state(optimizer, 0.5, parameters)}
    mean, average = start.astype(np.float64), start.astype(np.float64)
    for updates, x in enumerate((batch, other)):
        state = step(state, {}, x)
        mean = 0.9 * mean + 0.1 * x["x"].mean(axis=0)
        decay = min(0.5, (1 + updates) / (10 + updates))
        average = decay * average + (1 - decay) * mean
    np.testing.assert_allclose(state["trained"]["norm"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(state["parameters"]["norm"]["mean"], average, rtol=1e-5)
    assert np.abs(state["trained"]["kernel"] - parameters["kernel"]).min() > 0.01


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_sharpness_aware_steps_take_the_gradient_where_the_loss_rises_most(micro_batches):
    """Against SAM written down in float64."""
    parameters, batch = problem(seed=5)
    options = {"micro_batches": micro_batches, "sam_rho": 0.05, "steps": 3}
    states = stepped(parameters, batch, optax.sgd(0.1), **options)
    x, y, weight = (batch[name].astype(np.float64) for name in ("x", "y", "weight"))

    def gradient(kernel):
        return 2 * (weight * (np.tanh(x) @ kernel - 1.5 * y)) @ np.tanh(x) / weight.sum()

    kernel, loss = parameters["kernel"].astype(np.float64), 0.0
    for state in states:
        loss += (weight * (np.tanh(x) @ kernel - 1.5 * y) ** 2).sum() / weight.sum()
        steepest = kernel + 0.05 * gradient(kernel) / np.linalg.norm(gradient(kernel))
        kernel = kernel - 0.1 * gradient(steepest)
        np.testing.assert_allclose(state["parameters"]["kernel"], kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(states[-1]["totals"]["loss"], 0.75 * loss, rtol=1e-5)


def test_running_statistics_are_those_of_the_first_of_two_passes():
    """Momentum and weights moved by SAM leave a running mean where the data put it."""
    parameters, batch = problem(seed=8)
    parameters |= {"norm": {"mean": np.zeros(5, np.float32)}}

    def shifted(parameters, frozen, batch):
        error = batch["x"] @ parameters["kernel"] - batch["y"]
        return {"loss": error**2}, {"norm": {"mean": parameters["kernel"]}}

    step = make_step(
        shifted, optax.sgd(0.1), make_mesh(), micro_batches=1, ema_decay=0.0, sam_rho=0.5
    )
    state = {"parameters": parameters, **init_training_state(optax.sgd(0.1), 0.0, parameters)}
    state = jax.jit(step)(state, {}, batch)
    np.testing.assert_array_equal(state["parameters"]["norm"]["mean"], parameters["kernel"])


def test_the_average_follows_the_trained_weights():
    """Against the recursion in float64; the trained weights are those of a run without it."""
    parameters, batch = problem(seed=4)
    plain = stepped(parameters, batch, optax.sgd(0.01), steps=30)
    averaged = stepped(parameters, batch, optax.sgd(0.01), steps=30, ema_decay=0.5)
    average = parameters["kernel"].astype(np.float64)
    for updates, (one, other) in enumerate(zip(plain, averaged, strict=True)):
        trained = np.asarray(one["parameters"]["kernel"], np.float64)
        np.testing.assert_array_equal(other["trained"]["kernel"], one["parameters"]["kernel"])
        decay = min(0.5, (1 + updates) / (10 + updates))
        average = decay * average + (1 - decay) * trained
        np.testing.assert_allclose(other["parameters"]["kernel"], average, rtol=1e-5)
    assert np.abs(average - trained).max() > 1e-4


def test_the_decay_grows_to_what_was_asked_for():
    decays = [float(ema_decay_at(0.999, jnp.int32(n))) for n in (0, 1, 10, 10_000_000)]
    np.testing.assert_allclose(decays, [0.1, 2 / 11, 11 / 20, 0.999], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("job", ["pretrain", "detect"])
def test_a_run_in_micro_batches_is_that_of_whole_batches(tmp_path, job, mae, detector, data):
    whole = {"pretrain": mae, "detect": detector}[job]
    flags = {"pretrain": (), "detect": (f"mae={mae}", "data.methods=rows", "blocks.group=2")}[job]
    if job == "detect":  # groups of 4 do not fit into 2 rows
        whole = tmp_path / "whole"
        assert jobs.start(job, whole, *data, *flags) == 0
    assert jobs.start(job, tmp_path / "parts", *data, *flags, "micro_batches=2") == 0
    one, other = (jobs.metric_lines(folder) for folder in (whole, tmp_path / "parts"))
    assert len(one) == len(other) > 4
    for line, part in zip(one, other, strict=True):
        assert line == pytest.approx(part, abs=1e-5)


@pytest.mark.slow
def test_averaged_weights_are_validated_handed_on_and_resumed_with(tmp_path, mae, data):
    flags = (*data, "optimizer.ema_decay=0.9")
    assert jobs.start("pretrain", tmp_path / "run", *flags) == 0
    before = jobs.metric_lines(tmp_path / "run")
    there = jobs.saved_arrays(tmp_path / "run" / LATEST / "4")
    training = jobs.saved_arrays(tmp_path / "run" / LATEST / "4", "training")
    trained = {
        name.removeprefix("['trained']"): array
        for name, array in training.items()
        if name.startswith("['trained']")
    }
    without = jobs.saved_arrays(mae / LATEST / "4")
    assert trained.keys() == without.keys()
    for name, array in trained.items():  # of two compiled programs
        np.testing.assert_allclose(array, without[name], rtol=0, atol=1e-5, err_msg=name)
    assert any(np.abs(there[name] - trained[name]).max() > 1e-5 for name in there)
    assert training["['updates']"] == 4

    validated, plain = (
        [line["loss"] for line in jobs.metric_lines(folder) if line["split"] == "validation"]
        for folder in (tmp_path / "run", mae)
    )
    assert len(validated) == len(plain) == 2
    assert validated != plain

    shutil.rmtree(tmp_path / "run" / LATEST / "4")
    assert jobs.start("pretrain", tmp_path / "run", *flags) == 0
    assert jobs.metric_lines(tmp_path / "run") == before
    jobs.assert_same_arrays(jobs.saved_arrays(tmp_path / "run" / LATEST / "4"), there)
    jobs.assert_same_arrays(
        jobs.saved_arrays(tmp_path / "run" / LATEST / "4", "training"), training
    )


def test_micro_batches_that_do_not_fit_are_one_clear_error(tmp_path, data, capsys):
    assert jobs.start("pretrain", tmp_path, *data, "micro_batches=3") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "rffr_jax: batch_size=4 does not divide into micro_batches=3 on each of 1 devices; take a "
        "multiple of 3"
    )
    assert not (tmp_path / "config.json").exists()
