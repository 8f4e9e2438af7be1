"""Softmax attention, by cuDNN's fused kernel where it works, else as two products of matrices.

Either way the softmax is taken in float32.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

log = logging.getLogger(__name__)

_is_forbidden = False
_ask_processes: Callable[[bool], Sequence[bool]] | None = None


def attention(
    query: Float[Array, "*batch queries heads width"],
    key: Float[Array, "*batch tokens heads width"],
    value: Float[Array, "*batch tokens heads width"],
    lengths: Int[Array, " batch"] | None = None,
) -> Float[Array, "*batch queries heads width"]:
    """Every query attends to all tokens, or to the first `lengths` of its sequence."""
    fused = (
        not _is_forbidden
        and jax.default_backend() == "gpu"
        and query.dtype in (jnp.bfloat16, jnp.float16)
        and _cudnn_works(query.dtype, query.shape[-3:], key.shape[-3:], lengths is not None)
    )
    if fused:
        return jax.nn.dot_product_attention(
            query, key, value, key_value_seq_lengths=lengths, implementation="cudnn"
        )
    return _matmul_attention(query, key, value, lengths)


def attention_kernel(dtype: DTypeLike) -> str:
    """Name of the kernel that computes attention of a ViT-B/16 on this machine."""
    return "cuDNN's fused kernel" if fused_attention_works(dtype) else "two matrix products"


def fused_attention_works(dtype: DTypeLike) -> bool:
    """Whether cuDNN computes attention of a ViT-B/16 on this machine."""
    shape = (197, 12, 64)
    return jax.default_backend() == "gpu" and _cudnn_works(np.dtype(dtype), shape, shape, False)


def forbid_fused_attention():
    """Attention is two products of matrices from now on, also where cuDNN works."""
    global _is_forbidden
    _is_forbidden = True


def agree_on_fused_attention(ask_processes: Callable[[bool], Sequence[bool]]):
    """cuDNN computes attention of a shape only where it works in all processes, from now on.

    With different programs they could wait for each other for ever. They ask each other whenever a
    program with a new shape is traced: all trace the same programs in the same order.

    Args:
      ask_processes: from the answer of this process the answers of all.
    """
    global _ask_processes
    _ask_processes = ask_processes


def _matmul_attention(query: Array, key: Array, value: Array, lengths: Array | None) -> Array:
    """The same as `jax.nn.dot_product_attention`, with the heads in front of the tokens.

    So a CPU multiplies whole matrices. With the heads behind the tokens, attention takes three
    times as long (docs/benchmarks.md).
    """
    query, key, value = (jnp.swapaxes(heads, -2, -3) for heads in (query, key, value))
    logits = jnp.einsum("...qw,...kw->...qk", query, key, preferred_element_type=jnp.float32)
    logits *= query.shape[-1] ** -0.5
    if lengths is not None:
        there = jnp.arange(key.shape[-2]) < lengths[..., None, None, None]
        logits = jnp.where(there, logits, jnp.finfo(logits.dtype).min)
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.swapaxes(weights @ value, -2, -3)


@functools.cache
def _cudnn_works(
    dtype: np.dtype, query: tuple[int, ...], key: tuple[int, ...], padded: bool
) -> bool:
    """Whether cuDNN computes attention and its gradient for one sequence of these shapes."""

    def total(query: Array, key: Array, value: Array) -> Array:
        lengths = jnp.array([key.shape[1]], jnp.int32) if padded else None
        attended = jax.nn.dot_product_attention(
            query, key, value, key_value_seq_lengths=lengths, implementation="cudnn"
        )
        return jnp.sum(attended.astype(jnp.float32))

    try:
        with jax.ensure_compile_time_eval(), jax.transfer_guard("allow"):
            arrays = [jnp.zeros((1, *shape), dtype) for shape in (query, key, key)]
            gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*arrays)
            works = all(bool(jnp.isfinite(gradient).all()) for gradient in gradients)
            reason = "its gradients are not finite"
    except Exception as error:  # whatever it is, there is another attention
        works, reason = False, str(error).split("\n")[0]
    if not works:
        _warn_once(reason)
    if _ask_processes is None:
        return works
    # While this thread traces a program, it cannot send anything; another one can.
    answers = ThreadPoolExecutor(1).submit(_ask_processes, works).result()
    lacking = [str(process) for process, its in enumerate(answers) if not its]
    if works and lacking:
        log.warning(
            "cuDNN's attention for %s x %s x %s queries, heads and width does not work in process "
            "%s: none uses it",
            *(*query, ", ".join(lacking)),
        )
    return not lacking


@functools.cache
def _failures() -> list[str]:
    return []


def _warn_once(reason: str):
    if not _failures():
        log.warning("cuDNN's attention does not work here (%s); a slower one is used", reason)
    _failures().append(reason)
