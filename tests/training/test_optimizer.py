"""AdamW, its schedule and what decays."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from rffr_jax.errors import UserError
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.training.optimizer import decay_mask, learning_rate_schedule, make_optimizer


def settings(**changes):
    values = {
        "learning_rate": 0.1,
        "schedule": "cosine",
        "warmup_steps": 4,
        "weight_decay": 0.5,
        "b1": 0.9,
        "b2": 0.95,
    }
    return ConfigDict(values | changes)


def rate(schedule, step):
    return float(np.asarray(schedule(step)))


def test_warm_up_is_linear_and_the_rest_half_a_cosine():
    schedule = learning_rate_schedule(settings(), steps=20)
    expected = [0.1 * step / 4 for step in range(4)]
    expected += [0.05 * (1 + math.cos(math.pi * (step - 4) / 16)) for step in range(4, 21)]
    np.testing.assert_allclose([rate(schedule, step) for step in range(21)], expected, atol=1e-7)


def test_without_warm_up_the_first_step_has_the_peak():
    schedule = learning_rate_schedule(settings(warmup_steps=0), 5)
    assert rate(schedule, 0) == pytest.approx(0.1)


def test_constant_schedule():
    schedule = learning_rate_schedule(settings(schedule="constant"), 20)
    expected = [0.0, 0.05, 0.1, 0.1, 0.1]
    assert [rate(schedule, step) for step in (0, 2, 4, 10, 20)] == pytest.approx(expected)
    schedule = learning_rate_schedule(settings(schedule="constant", warmup_steps=0), 20)
    assert {rate(schedule, step) for step in (0, 10, 20)} == {0.1}


def test_the_rate_falls_on_a_line_in_the_last_quarter():
    for warmup in (0, 4):
        config = settings(schedule="last_quarter", warmup_steps=warmup)
        schedule = learning_rate_schedule(config, 20)
        expected = [0.1] * 16 + [0.08, 0.06, 0.04, 0.02, 0.0]
        expected[:warmup] = [0.1 * step / 4 for step in range(warmup)]
        np.testing.assert_allclose([rate(schedule, n) for n in range(21)], expected, atol=1e-7)


def test_the_rate_is_halved_whenever_so_many_steps_are_done():
    config = settings(schedule="constant", warmup_steps=0, halve_every=4)
    schedule = learning_rate_schedule(config, 20)
    expected = [0.1] * 4 + [0.05] * 4 + [0.025] * 4 + [0.0125]
    np.testing.assert_allclose([rate(schedule, n) for n in range(13)], expected)
    np.testing.assert_allclose(jax.jit(schedule)(jnp.int32(8)), 0.025)


def test_adam_is_that_of_pytorch():
    """The decay of kernels is a part of the gradient; by its definition, in float64."""
    config = settings(name="adam", schedule="constant", warmup_steps=0)
    optimizer = make_optimizer(config, 10)
    weights = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0])}
    state, expected = optimizer.init(weights), np.array([1.0, -2.0, 3.0])
    first, second = np.zeros(3), np.zeros(3)
    for step, gradient in enumerate((np.array([0.5, 1.0, -1.0]), np.array([-1.0, 0.25, 2.0])), 1):
        given = {"kernel": jnp.asarray(gradient[:2]), "bias": jnp.asarray(gradient[2:])}
        updates, state = optimizer.update(given, state, weights)
        weights = jax.tree.map(jnp.add, weights, updates)
        whole = gradient + 0.5 * expected * [1, 1, 0]
        first, second = 0.9 * first + 0.1 * whole, 0.95 * second + 0.05 * whole**2
        mean, square = first / (1 - 0.9**step), second / (1 - 0.95**step)
        expected = expected - 0.1 * mean / (np.sqrt(square) + 1e-8)
        found = np.concatenate([weights["kernel"], weights["bias"]])
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_sgd_is_that_of_pytorch():
    """v <- b1 v + g + decay w for kernels, w <- w - rate v; biases do not decay."""
    config = settings(name="sgd", schedule="constant", warmup_steps=0)
    optimizer = make_optimizer(config, 10)
    weights = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0])}
    state, expected, speed = optimizer.init(weights), np.array([1.0, -2.0, 3.0]), np.zeros(3)
    for gradient in (np.array([0.5, 1.0, -1.0]), np.array([-1.0, 0.25, 2.0])):
        given = {"kernel": jnp.asarray(gradient[:2]), "bias": jnp.asarray(gradient[2:])}
        updates, state = optimizer.update(given, state, weights)
        weights = jax.tree.map(jnp.add, weights, updates)
        speed = 0.9 * speed + gradient + 0.5 * expected * [1, 1, 0]
        expected = expected - 0.1 * speed
        found = np.concatenate([weights["kernel"], weights["bias"]])
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "last_quarter", "warmup_steps": 16}, "=16 must end before .*, at step 15"),
        ({"schedule": "cosin"}, "optimizer.schedule='cosin' is not known; choose cosine"),
        ({"warmup_steps": 20}, "optimizer.warmup_steps=20 must lie between 0 and steps - 1 = 19"),
        ({"warmup_steps": -1}, "optimizer.warmup_steps=-1"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        learning_rate_schedule(settings(**changes), 20)


def test_only_the_matrices_of_linear_layers_decay():
    _, parameters = abstract_mae(ModelSettings("tiny", 24, 12), jnp.float32)
    marks = jax.tree_util.tree_leaves_with_path(decay_mask(parameters))
    shapes = dict(jax.tree_util.tree_leaves_with_path(parameters))
    assert {mark for _, mark in marks} == {True, False}
    for path, mark in marks:
        name = jax.tree_util.keystr(path)
        one_a_layer = shapes[path].ndim - ("blocks" in name)
        assert mark == (one_a_layer >= 2 and "token" not in name), name


def test_decay_is_decoupled_from_the_gradient():
    parameters = {"layer": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}}
    optimizer = make_optimizer(settings(schedule="constant", warmup_steps=0), 10)
    zero = jax.tree.map(jnp.zeros_like, parameters)
    updates: Any = optimizer.update(zero, optimizer.init(parameters), parameters)[0]
    np.testing.assert_allclose(updates["layer"]["kernel"], -0.1 * 0.5 * 3.0, rtol=1e-6)
    np.testing.assert_array_equal(updates["layer"]["bias"], 0.0)


def test_first_step_is_the_sign_of_the_gradient_times_the_rate():
    parameters = {"bias": jnp.array([1.0, 2.0])}
    optimizer = make_optimizer(settings(schedule="constant", warmup_steps=0), 10)
    gradients = {"bias": jnp.array([4.0, -0.01])}
    updates: Any = optimizer.update(gradients, optimizer.init(parameters), parameters)[0]
    np.testing.assert_allclose(updates["bias"], [-0.1, 0.1], rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_backbone_with_a_rate_of_its_own_moves_as_alone_at_that_rate(name):
    """Three steps on a schedule, beside optimizers that give one rate to all."""
    rng = np.random.default_rng()

    def tree():
        layer = {
            "kernel": jnp.asarray(rng.normal(size=(3, 2))),
            "scale": jnp.asarray(rng.normal(size=2)),
        }
        other = {"norm": jax.tree.map(jnp.negative, layer)}
        branches = {"original": {"norm": layer}, "residual": other}
        return {"branches": branches, "head": layer, "original": layer}

    def after_three_steps(**rates):
        optimizer = make_optimizer(settings(name=name, **rates), 10)
        weights, state = start, optimizer.init(start)
        for gradient in gradients:
            updates, state = optimizer.update(gradient, state, weights)
            weights = jax.tree.map(jnp.add, weights, updates)
        return weights

    start, gradients = tree(), [tree() for _ in range(3)]
    found: Any = after_three_steps(learning_rate=0.01, backbone_learning_rate=0.3)
    slow: Any = after_three_steps(learning_rate=0.01)
    fast: Any = after_three_steps(learning_rate=0.3)
    of_backbone = found["branches"].pop("original")
    slow["branches"].pop("original")
    jax.tree.map(np.testing.assert_array_equal, found, slow)
    expected = fast["branches"]["original"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), of_backbone, expected)


@pytest.mark.parametrize(
    "rates",
    [
        {"backbone_learning_rate": -1.0},
        {"learning_rate": 0.0, "backbone_learning_rate": 0.1},
    ],
)
def test_a_rate_of_the_backbone_that_is_none_is_named(rates):
    with pytest.raises(
        UserError, match=r"backbone_learning_rate=.* and optimizer.learning_rate=.* must be above 0"
    ):
        make_optimizer(settings(**rates), 10)
