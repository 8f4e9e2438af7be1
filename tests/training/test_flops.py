"""Counted matrix FLOPs against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.training.flops import matrix_flops


def count(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return matrix_flops(jax.make_jaxpr(function)(*arguments))


def scanned(x, kernels):
    return jax.lax.scan(lambda carry, kernel: (carry @ kernel, None), x, kernels)[0]


def convolved(groups):
    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(
            image,
            kernel,
            window_strides=(2, 2),
            padding="VALID",
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    return convolve


PRODUCT = 2 * 3 * 5 * 7


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (jnp.matmul, [(3, 5), (5, 7)], PRODUCT),
        (jnp.matmul, [(4, 3, 5), (4, 5, 7)], 4 * PRODUCT),
        (jax.jit(jax.jit(jnp.matmul)), [(3, 5), (5, 7)], PRODUCT),
        (jax.vmap(jnp.matmul), [(6, 3, 5), (6, 5, 7)], 6 * PRODUCT),
        (jax.checkpoint(jnp.matmul), [(3, 5), (5, 7)], PRODUCT),
        (scanned, [(3, 5), (9, 5, 5)], 9 * 2 * 3 * 5 * 5),
        (convolved(1), [(2, 9, 9, 6), (3, 3, 6, 8)], 2 * (2 * 4 * 4 * 8) * (3 * 3 * 6)),
        (convolved(3), [(2, 9, 9, 6), (3, 3, 2, 9)], 2 * (2 * 4 * 4 * 9) * (3 * 3 * 2)),
        (lambda x: jnp.sum(x * x), [(30, 30)], 0),
    ],
)
def test_counts(function, shapes, expected):
    assert count(function, *shapes) == expected


def test_a_gradient_costs_two_products_more():
    def loss(x, kernel):
        return jnp.sum(x @ kernel)

    both = jax.value_and_grad(loss, argnums=(0, 1))
    assert count(both, (3, 5), (5, 7)) == 3 * PRODUCT


@pytest.mark.parametrize(
    ("groups", "side", "stride"),
    [(1, 3, 1), (1, 2, 2), (6, 3, 1)],
    ids=["plain", "strided", "depthwise"],
)
def test_the_gradient_of_a_convolution_costs_two_more(groups, side, stride):
    def loss(x, kernel):
        return jnp.sum(
            jax.lax.conv_general_dilated(
                x,
                kernel,
                (stride, stride),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=groups,
            )
            ** 2
        )

    shapes = [(2, 8, 8, 6), (side, side, 6 // groups, 12)]
    both = jax.value_and_grad(loss, argnums=(0, 1))
    assert count(both, *shapes) == 3 * count(loss, *shapes) > 0


@pytest.mark.parametrize("differentiated", [False, True])
def test_fused_attention_counts_as_the_products_that_it_stands_for(monkeypatch, differentiated):
    """Traced alone: the kernel is for GPUs."""
    library = "jax._src.cudnn.fused_attention_stablehlo"
    monkeypatch.setattr(f"{library}.check_cudnn_version", lambda: 91100)
    monkeypatch.setattr(f"{library}.check_compute_capability", lambda capability: True)

    def attention(implementation):
        def total(*arrays):
            return jnp.sum(
                jax.nn.dot_product_attention(*arrays, implementation=implementation),
                dtype=jnp.float32,
            )

        return jax.grad(total, argnums=(0, 1, 2)) if differentiated else total

    query, key = (jax.ShapeDtypeStruct((2, n, 4, 64), jnp.bfloat16) for n in (64, 128))
    fused, plain = (
        matrix_flops(jax.make_jaxpr(attention(name))(query, key, key)) for name in ("cudnn", "xla")
    )
    assert fused == plain > 0


def test_what_a_gradient_computes_again_does_not_count():
    settings = ModelSettings("tiny", 48, 6)
    images, visible, hidden = (
        jax.ShapeDtypeStruct((4, 48, 48, 3), jnp.float32),
        jax.ShapeDtypeStruct((4, 60), jnp.int32),
        jax.ShapeDtypeStruct((4, 4), jnp.int32),
    )

    def flops(remat: bool) -> int:
        definition, abstract = abstract_mae(settings, remat=remat)

        def loss(parameters, images, visible, hidden):
            return jnp.sum(
                nnx.merge(definition, nnx.State(parameters))(images, visible, hidden) ** 2
            )

        program = jax.make_jaxpr(jax.grad(loss))(abstract, images, visible, hidden)
        return matrix_flops(program)

    assert flops(remat=True) == flops(remat=False)
