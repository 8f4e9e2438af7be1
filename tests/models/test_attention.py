"""Which attention is used where, and in what type its softmax is taken."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from rffr_jax.models import attention as module
from rffr_jax.models.attention import attention


@pytest.fixture(autouse=True)
def nothing_probed():
    def forget():
        module._cudnn_works.cache_clear()
        module._failures.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture
def on_a_gpu(monkeypatch):
    """What the program asks JAX says that there is a GPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.fixture
def calls(monkeypatch):
    """The implementations that were asked for; XLA computes them all."""
    real, asked = jax.nn.dot_product_attention, []

    def recorded(*arrays, implementation, **options):
        asked.append(implementation)
        return real(*arrays, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", recorded)
    return asked


def random_heads(seed, dtype=jnp.float32, queries=5, tokens=7) -> tuple[Array, Array, Array]:
    generator = np.random.default_rng(seed)
    shapes = [(3, queries, 2, 8), (3, tokens, 2, 8), (3, tokens, 2, 8)]
    query, key, value = (generator.standard_normal(shape) for shape in shapes)
    return jnp.asarray(query, dtype), jnp.asarray(key, dtype), jnp.asarray(value, dtype)


def expected(query, key, value, lengths):
    """Softmax attention in float64."""
    query, key, value = (np.asarray(array, np.float64) for array in (query, key, value))
    logits = np.einsum("bqhw,bthw->bhqt", query, key) / np.sqrt(query.shape[-1])
    seen = np.arange(key.shape[1]) < np.asarray(lengths)[:, None]
    weights = np.where(seen[:, None, None], np.exp(logits), 0.0)
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("bhqt,bthw->bqhw", weights, value)


@pytest.mark.parametrize("lengths", [None, (7, 1, 4)])
def test_attention_against_float64(lengths):
    heads = random_heads(0)
    given = None if lengths is None else jnp.array(lengths, jnp.int32)
    np.testing.assert_allclose(
        attention(*heads, given), expected(*heads, lengths or (7, 7, 7)), atol=1e-5
    )


def test_cudnn_is_probed_once_for_each_shape_and_then_used(on_a_gpu, calls):
    heads = random_heads(0, jnp.bfloat16)
    attention(*heads)
    assert set(calls) == {"cudnn"}
    calls.clear()
    jax.jit(attention)(*heads)
    assert calls == ["cudnn"]
    attention(*heads, jnp.array([7, 1, 4], jnp.int32))  # padding is another kernel
    assert len(calls) > 2
    assert set(calls) == {"cudnn"}


def test_the_probe_works_while_a_program_is_traced(on_a_gpu, calls):
    gradients = jax.jit(jax.grad(lambda *heads: attention(*heads).astype(jnp.float32).sum()))
    assert np.isfinite(np.asarray(gradients(*random_heads(1, jnp.bfloat16)), np.float32)).all()
    assert set(calls) == {"cudnn"}


def test_the_probe_works_where_transfers_are_forbidden(on_a_gpu, calls):
    heads = random_heads(1, jnp.bfloat16)
    with jax.transfer_guard("disallow"):
        module._cudnn_works(heads[0].dtype, heads[0].shape[1:], heads[1].shape[1:], True)
    calls.clear()
    attention(*heads, jnp.array([7, 1, 4], jnp.int32))
    assert calls == ["cudnn"]


def test_without_cudnn_there_is_one_warning_and_the_same_result(on_a_gpu, caplog):
    heads = random_heads(0, jnp.bfloat16)
    with caplog.at_level(logging.WARNING):
        results = [
            attention(*heads),
            attention(*heads),
            attention(*random_heads(1, jnp.bfloat16, 4)),
        ]
    assert [record.getMessage() for record in caplog.records] == [
        "cuDNN's attention does not work here (cuDNN is not detected.); a slower one is used"
    ]
    np.testing.assert_allclose(
        np.asarray(results[0], np.float32), expected(*heads, (7, 7, 7)), atol=0.03
    )


def test_gradients_that_are_not_finite_are_a_failure(on_a_gpu, monkeypatch, caplog):
    real, asked = jax.nn.dot_product_attention, []

    def broken(*arrays, implementation, **options):
        asked.append(implementation)
        attended = real(*arrays, implementation="xla", **options)
        return attended * jnp.nan if implementation == "cudnn" else attended

    monkeypatch.setattr(jax.nn, "dot_product_attention", broken)
    assert np.isfinite(np.asarray(attention(*random_heads(0, jnp.bfloat16)), np.float32)).all()
    asked.clear()
    attention(*random_heads(0, jnp.bfloat16))
    assert asked == []
    assert "gradients are not finite" in caplog.text


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_cpu_and_float32_do_without_cudnn(dtype, calls, monkeypatch):
    if dtype == jnp.float32:
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    attention(*random_heads(0, dtype))
    assert calls == []


def exponentials(jaxpr):
    """The types in which exponentials are taken, nested programs included."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "exp":
            found.append(equation.outvars[0].aval.dtype)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                found += exponentials(inner) if hasattr(inner, "eqns") else []
    return found


def test_the_softmax_is_float32_under_bfloat16():
    heads = random_heads(0, jnp.bfloat16)
    taken = exponentials(jax.make_jaxpr(attention)(*heads).jaxpr)
    assert taken
    assert set(taken) == {jnp.dtype(jnp.float32)}
    assert attention(*heads).dtype == jnp.bfloat16


def test_cudnn_is_not_used_where_it_is_forbidden(on_a_gpu, calls, monkeypatch):
    monkeypatch.setattr(module, "_is_forbidden", False)
    module.forbid_fused_attention()
    heads = random_heads(0, jnp.bfloat16)
    np.testing.assert_allclose(
        attention(*heads).astype(np.float32), expected(*heads, (7, 7, 7)), atol=2e-2
    )
    assert not calls


@pytest.mark.parametrize(("other", "expected"), [(True, {"cudnn"}), (False, set())])
def test_a_shape_is_fused_only_where_all_processes_can(
    on_a_gpu, calls, monkeypatch, caplog, other, expected
):
    asked = []

    def ask(mine):
        asked.append(mine)
        return [mine, mine, other]

    monkeypatch.setattr(module, "_ask_processes", ask)
    short, long = random_heads(0, jnp.bfloat16), random_heads(0, jnp.bfloat16, queries=7)
    jax.jit(lambda *heads: attention(*heads))(*short)
    assert asked == [True]  # inside a program that is traced
    calls.clear()
    jax.jit(lambda *heads: attention(*heads))(*short)
    assert set(calls) == expected
    assert asked == [True]
    attention(*long)
    assert asked == [True, True]
    assert ("in process 2: none uses it" in caplog.text) != other


def test_a_process_that_cannot_says_so_to_the_others(on_a_gpu, monkeypatch):
    def broken(*_, implementation, **__):
        raise RuntimeError("no plan")

    asked = []
    monkeypatch.setattr(jax.nn, "dot_product_attention", broken)
    monkeypatch.setattr(module, "_ask_processes", lambda mine: asked.append(mine) or [mine, True])
    heads = random_heads(0, jnp.bfloat16)
    np.testing.assert_allclose(
        np.asarray(attention(*heads), np.float32),
        expected(*heads, (7, 7, 7)),
        atol=0.05,
    )
    assert asked == [False]
