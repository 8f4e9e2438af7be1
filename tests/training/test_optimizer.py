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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
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
