"""Depthwise and pointwise convolutions by other means, for CPUs.

XLA's convolutions of one channel at a time, and of one pixel at a time, are slow on a CPU
(docs/benchmarks.md). The device where a program is traced decides, so an export that is made on a
CPU has these everywhere.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rffr_jax.models.feature_maps import Inputs, Outputs

Kernel = Float[Array, "rows columns 1 channels"]
Strides = tuple[int, int]


def convolution_of(side: int, groups: int) -> Callable[..., Array]:
    """What `nnx.Conv` convolves with: `side` x `side` kernels, 1 group or one for each channel."""
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated
    if groups > 1:
        return depthwise_convolution
    return pointwise_convolution if side == 1 else lax.conv_general_dilated


def depthwise_convolution(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    feature_group_count: int,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    preferred_element_type: DTypeLike | None = None,
    **options,
) -> Array:
    """`jax.lax.conv_general_dilated` of a kernel for each channel; for `nnx.Conv`.

    Args:
      lhs: pixels [batch, height, width, channels].
      rhs: kernel [rows, columns, 1, channels].
      feature_group_count: the number of channels.

    Raises:
      ValueError: the kernel is no depthwise one, or something is dilated.
    """
    if {*(lhs_dilation or ()), *(rhs_dilation or ())} - {1}:
        raise ValueError(f"dilated by {lhs_dilation} and {rhs_dilation}, which is not supported")
    if rhs.shape[2:] != (1, feature_group_count) or lhs.shape[-1] != feature_group_count:
        raise ValueError(f"no depthwise convolution: {lhs.shape} by {rhs.shape}")
    strides = (window_strides[0], window_strides[1])
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, padding)
    padded = jnp.pad(lhs.astype(jnp.float32), ((0, 0), *padding, (0, 0)))
    found: Array = _convolve(padded, rhs.astype(jnp.float32), strides)
    return found.astype(preferred_element_type or lhs.dtype)


def pointwise_convolution(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    preferred_element_type: DTypeLike | None = None,
    **options,
) -> Array:
    """`jax.lax.conv_general_dilated` of a kernel of one pixel, as a product of matrices.

    Args:
      lhs: pixels [batch, height, width, inputs].
      rhs: kernel [1, 1, inputs, outputs].

    Raises:
      ValueError: the kernel is no pointwise one, or something is padded.
    """
    if rhs.shape[:3] != (1, 1, lhs.shape[-1]):
        raise ValueError(f"no pointwise convolution: {lhs.shape} by {rhs.shape}")
    if not isinstance(padding, str) and any(map(any, padding)):
        raise ValueError(f"padded by {padding}, which is not supported")
    down, right = window_strides
    pixels = lhs[:, ::down, ::right]
    return jnp.einsum(
        "bhwi,io->bhwo", pixels, rhs[0, 0], preferred_element_type=preferred_element_type
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Inputs, kernel: Kernel, strides: Strides) -> Outputs:
    return _shifted_products(x, kernel, strides)


def _shifted_products(x: Inputs, kernel: Kernel, strides: Strides) -> Outputs:
    """The sum over the kernel's places of the pixels there, times the kernel."""
    rows, columns, _, channels = kernel.shape
    down, right = strides
    last_row, last_column = x.shape[1] - rows, x.shape[2] - columns

    def product(row: int, column: int) -> Outputs:
        end = (len(x), row + last_row + 1, column + last_column + 1, channels)
        pixels = lax.slice(x, (0, row, column, 0), end, (1, down, right, 1))
        return pixels * kernel[row, column, 0]

    return sum(
        (product(row, column) for row in range(rows) for column in range(columns)),
        start=jnp.zeros((), x.dtype),
    )


def _forward(x: Inputs, kernel: Kernel, strides: Strides) -> tuple[Outputs, tuple[Inputs, Kernel]]:
    return _shifted_products(x, kernel, strides), (x, kernel)


def _backward(
    strides: Strides, saved: tuple[Inputs, Kernel], cotangent: Outputs
) -> tuple[Inputs, Kernel]:
    x, kernel = saved
    transposed = jax.linear_transpose(lambda y: _shifted_products(y, kernel, strides), x)
    (x_cotangent,) = transposed(cotangent)
    return x_cotangent, _kernel_gradient(x, cotangent, kernel, strides)


def _kernel_gradient(x: Inputs, cotangent: Outputs, kernel: Kernel, strides: Strides) -> Kernel:
    """Row after row: what a whole image takes does not fit the caches. Images are added up
    last, so that several devices need one all-reduce."""
    rows, columns = kernel.shape[:2]
    batch, height, width, channels = cotangent.shape
    down, right = strides

    def add_row(total: Array, row: Array) -> tuple[Array, None]:
        window = lax.dynamic_slice_in_dim(x, row * down, rows, axis=1)
        here = lax.dynamic_slice_in_dim(cotangent, row, 1, axis=1)
        length = right * (width - 1) + 1
        parts = [
            jnp.sum(window[:, :, column : column + length : right] * here, axis=2)
            for column in range(columns)
        ]
        return total + jnp.stack(parts, axis=2), None

    start = jnp.zeros((batch, rows, columns, channels), x.dtype)
    total, _ = lax.scan(add_row, start, jnp.arange(height))
    return jnp.sum(total, axis=0)[:, :, None]


_convolve.defvjp(_forward, _backward)
