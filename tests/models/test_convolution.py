"""The convolutions for CPUs are those of XLA, forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from rffr_jax.models import convolution
from rffr_jax.models.convolution import (
    convolution_of,
    depthwise_convolution,
    pointwise_convolution,
)

LAYOUT = ("NHWC", "HWIO", "NHWC")


def draw(height: int, width: int, side: int, dtype=np.float32):
    rng = np.random.default_rng(height + side)
    pixels = rng.standard_normal((2, height, width, 5)).astype(dtype)
    return jnp.asarray(pixels), jnp.asarray(rng.standard_normal((side, side, 1, 5)).astype(dtype))


def by_xla(pixels, kernel, strides, padding):
    channels = pixels.shape[-1]
    return lax.conv_general_dilated(
        *(pixels, kernel, strides, padding),
        dimension_numbers=LAYOUT,
        feature_group_count=channels,
        precision="highest",
    )


def ours(pixels, kernel, strides, padding):
    return depthwise_convolution(
        *(pixels, kernel, strides, padding),
        dimension_numbers=LAYOUT,
        feature_group_count=pixels.shape[-1],
    )


@pytest.mark.parametrize("padding", ["SAME", "VALID", "BOTH"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [3, 5])
def test_it_and_its_gradients_are_those_of_xla(side, stride, padding):
    given = [(side // 2, side // 2)] * 2 if padding == "BOTH" else padding
    pixels, kernel = draw(9, 12, side)
    found, back = jax.vjp(lambda x, k: ours(x, k, (stride, stride), given), pixels, kernel)
    expected, back_by_xla = jax.vjp(
        lambda x, k: by_xla(x, k, (stride, stride), given), pixels, kernel
    )
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, atol=1e-5)
    slope = jnp.asarray(np.random.default_rng(7).standard_normal(found.shape).astype(np.float32))
    for here, there in zip(back(slope), back_by_xla(slope), strict=True):
        np.testing.assert_allclose(here, there, atol=3e-5)


def test_half_precision_is_added_up_in_float32():
    pixels, kernel = draw(16, 16, 3, jnp.bfloat16)
    found, back = jax.vjp(lambda x, k: ours(x, k, (1, 1), "SAME"), pixels, kernel)
    exact = by_xla(pixels.astype(jnp.float32), kernel.astype(jnp.float32), (1, 1), "SAME")
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
    assert [a.dtype for a in back(found)] == [jnp.bfloat16] * 2


def test_layers_take_it_and_a_grouped_convolution_is_refused():
    pixels, _ = draw(8, 8, 3)

    def layer(outputs: int, groups: int, **given) -> nnx.Conv:
        shape = {"feature_group_count": groups, "use_bias": False, "rngs": nnx.Rngs(0)}
        return nnx.Conv(5, outputs, (3, 3), **shape, **given)

    found = layer(5, 5, conv_general_dilated=depthwise_convolution)(pixels)
    np.testing.assert_allclose(found, layer(5, 5)(pixels), atol=1e-5)
    with pytest.raises(ValueError, match="no depthwise convolution"):
        layer(10, 5, conv_general_dilated=depthwise_convolution)(pixels)
    with pytest.raises(ValueError, match="dilated by"):
        layer(5, 5, kernel_dilation=2, conv_general_dilated=depthwise_convolution)(pixels)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "NONE"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_pointwise_one_and_its_gradients_are_those_of_xla(stride, padding):
    given = [(0, 0)] * 2 if padding == "NONE" else padding
    rng = np.random.default_rng(stride)
    pixels = jnp.asarray(rng.standard_normal((2, 7, 10, 5)).astype(np.float32))
    kernel = jnp.asarray(rng.standard_normal((1, 1, 5, 3)).astype(np.float32))

    def by_pixel(x, k):
        return pointwise_convolution(x, k, (stride, stride), given, dimension_numbers=LAYOUT)

    def by_xla(x, k):
        strides = (stride, stride)
        return lax.conv_general_dilated(x, k, strides, given, dimension_numbers=LAYOUT)

    found, back = jax.vjp(by_pixel, pixels, kernel)
    expected, back_by_xla = jax.vjp(by_xla, pixels, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    slope = jnp.asarray(rng.standard_normal(found.shape).astype(np.float32))
    for here, there in zip(back(slope), back_by_xla(slope), strict=True):
        np.testing.assert_allclose(here, there, atol=3e-5)


def test_a_pointwise_one_of_other_kernels_or_with_padding_is_refused():
    pixels = jnp.zeros((1, 4, 4, 5))
    with pytest.raises(ValueError, match="no pointwise convolution"):
        pointwise_convolution(pixels, jnp.zeros((3, 3, 5, 2)), (1, 1), "SAME")
    with pytest.raises(ValueError, match="padded by"):
        pointwise_convolution(pixels, jnp.zeros((1, 1, 5, 2)), (1, 1), [(1, 1), (0, 0)])


def test_each_kernel_has_its_own_and_other_devices_keep_that_of_xla(monkeypatch):
    assert convolution_of(3, 5) is depthwise_convolution
    assert convolution_of(1, 1) is pointwise_convolution
    assert convolution_of(3, 1) is lax.conv_general_dilated
    monkeypatch.setattr(convolution.jax, "default_backend", lambda: "gpu")
    for side, groups in ((3, 5), (1, 1), (3, 1)):
        assert convolution_of(side, groups) is lax.conv_general_dilated
