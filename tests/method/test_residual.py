"""The fused residual against block-by-block loops, and its cost against the analytic count."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.residual import inpaint, residual_image, residual_patches
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.layers import patchify, take_patches
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import SIZES, ModelSettings
from rffr_jax.training.flops import matrix_flops
from tests.models import reference
from tests.models.test_models import random_model

fused = jax.jit(residual_image, static_argnums=1)


def model(image_size, patch, seed=0):
    settings = ModelSettings("tiny", image_size, patch)
    return random_model(lambda: MAE(settings, dtype=jnp.float32, rngs=nnx.Rngs(0)), seed)


@pytest.mark.parametrize(("grid", "k"), [(6, 2), (6, 4), (7, 3)])
def test_fused_call_equals_a_loop_over_blocks_in_float64(grid, k):
    mae, parameters = model(4 * grid, 4, seed=k)
    blocks = BlockGrid(grid, k)
    images = np.random.default_rng(k).random((2, 4 * grid, 4 * grid, 3))
    inpainted, residual = fused(mae, blocks, jnp.asarray(images, jnp.float32))
    for row, image in enumerate(images):
        expected = image.copy()
        for hidden in blocks.hidden:
            predicted = reference.inpaint(parameters, SIZES["tiny"], 4, image, hidden)
            for place, pixels in zip(hidden, predicted, strict=True):
                r, c = 4 * (place // grid), 4 * (place % grid)
                expected[r : r + 4, c : c + 4] = pixels.reshape(4, 4, 3)
        np.testing.assert_allclose(inpainted[row], expected, atol=1e-5)
        difference = np.clip(4.0 * (expected - image), -1, 1)
        np.testing.assert_allclose(residual[row], difference, atol=4e-5)


@pytest.mark.parametrize(("per_pass", "at_once"), [(1, 1), (1, 3), (2, 4), (4, 100)])
def test_passes_one_after_another_equal_all_beside_each_other(per_pass, at_once):
    mae, _ = model(24, 4)
    images = jax.random.uniform(jax.random.key(0), (3, 24, 24, 3))
    blocks = BlockGrid(6, 4, per_pass)
    together = jax.jit(inpaint, static_argnums=(1, 3))(mae, blocks, images, None)
    apart = jax.jit(inpaint, static_argnums=(1, 3))(mae, blocks, images, at_once)
    assert np.abs(together - images).max() > 0.1
    np.testing.assert_allclose(apart, together, atol=1e-6)


@pytest.mark.slow
def test_fewer_passes_at_once_take_less_memory():
    mae, _ = model(24, 4)
    images = jax.ShapeDtypeStruct((8, 24, 24, 3), jnp.float32)

    def planned(at_once):
        program = jax.jit(inpaint, static_argnums=(1, 3))
        plan = program.lower(mae, BlockGrid(6, 4), images, at_once).compile().memory_analysis()
        assert plan is not None
        return plan.temp_size_in_bytes

    assert planned(1) < planned(4) < planned(16) / 2


def test_blocks_of_one_pass_are_hidden_together():
    mae, parameters = model(24, 4, seed=9)
    blocks = BlockGrid(6, 3, per_pass=3)
    images = np.random.default_rng(9).random((1, 24, 24, 3))
    inpainted = jax.jit(inpaint, static_argnums=1)(mae, blocks, jnp.asarray(images, jnp.float32))
    patches = np.asarray(patchify(inpainted, 4))[0]
    for group in blocks.passes:
        hidden = blocks.hidden[group].reshape(-1)
        expected = reference.inpaint(parameters, SIZES["tiny"], 4, images[0], hidden)
        np.testing.assert_allclose(patches[hidden], expected, atol=1e-5)


def test_residual_is_zero_where_no_block_reaches():
    mae, _ = model(24, 4)
    blocks = BlockGrid(6, 4)  # side 1, offset 1: a ring of one patch stays visible
    images = jax.random.uniform(jax.random.key(0), (2, 24, 24, 3))
    inpainted, residual = fused(mae, blocks, images)
    ring = np.ones((24, 24), bool)
    ring[4:20, 4:20] = False
    assert np.all(np.asarray(residual)[:, ring] == 0)
    np.testing.assert_array_equal(np.asarray(inpainted)[:, ring], np.asarray(images)[:, ring])
    assert np.abs(np.asarray(residual)[:, ~ring]).mean() > 0


def test_residual_is_clipped_and_scaled():
    mae, _ = model(24, 4)
    images = jax.random.uniform(jax.random.key(0), (1, 24, 24, 3))
    blocks = BlockGrid(6, 3)
    strong = fused(mae, blocks, images, 1e4)[1]
    assert np.abs(strong).max() == 1.0
    inpainted, weak = fused(mae, blocks, images, 1e-3)
    expected = 1e-3 * (np.asarray(inpainted) - np.asarray(images))
    np.testing.assert_allclose(weak, expected, atol=1e-8)


@pytest.mark.parametrize(
    ("counts", "per_pass", "at_once"),
    [((2,), 3, None), ((1, 1, 2, 3), 1, None), ((1, 1, 2, 3), 1, 3), ((2, 3), 3, 1)],
)
def test_chosen_blocks_are_those_of_the_whole_image(counts, per_pass, at_once):
    mae, _ = model(24, 4)
    blocks = BlockGrid(6, 3, per_pass)
    images = jax.random.uniform(jax.random.key(0), (4, 24, 24, 3))
    generator = np.random.default_rng(len(counts))
    chosen = np.argsort(generator.random((4, 9)), axis=1)[:, : max(counts)].astype(np.int32)
    patches, indices = jax.jit(residual_patches, static_argnums=(1, 4, 6))(
        mae, blocks, images, chosen, counts, 4.0, at_once
    )
    whole = take_patches(patchify(fused(mae, blocks, images)[1], 4), indices)
    for row in range(4):
        used = 4 * counts[row % len(counts)]
        np.testing.assert_allclose(patches[row, :used], whole[row, :used], atol=1e-5)
        assert indices[row, :4].tolist() == blocks.hidden[chosen[row, 0]].tolist()


def test_mae_arithmetic_is_proportional_to_the_blocks_drawn():
    settings, blocks = ModelSettings("vit_ti16", 224, 16), BlockGrid(14, 4)
    definition, abstract = abstract_mae(settings, jnp.float32)

    def flops(counts, at_once=None):
        def chosen_residuals(parameters, images, chosen):
            mae = nnx.merge(definition, nnx.State(parameters))
            return residual_patches(mae, blocks, images, chosen, counts, at_once=at_once)

        images = jax.ShapeDtypeStruct((len(counts), 224, 224, 3), jnp.float32)
        chosen = jax.ShapeDtypeStruct((len(counts), max(counts)), jnp.int32)
        return matrix_flops(jax.make_jaxpr(chosen_residuals)(abstract, images, chosen))

    embedding = 4 * 2 * 196 * 768 * 192
    one_pass = (flops((1, 1, 1, 1)) - embedding) / 4
    for at_once in (None, 1, 3, 5, 16):
        assert flops((1, 2, 5, 8), at_once) - embedding == 16 * one_pass


def test_fewer_chosen_blocks_at_once_take_less_memory():
    mae, _ = model(24, 4)
    images, chosen = jnp.zeros((4, 24, 24, 3)), jnp.zeros((4, 9), jnp.int32)
    program = jax.jit(residual_patches, static_argnums=(1, 4, 6))

    def planned(at_once):
        lowered = program.lower(mae, BlockGrid(6, 3), images, chosen, (9, 9, 9, 9), 4.0, at_once)
        plan = lowered.compile().memory_analysis()
        assert plan is not None
        return plan.temp_size_in_bytes

    assert planned(4) < planned(36) / 3


def test_bfloat16_residual_is_subtracted_in_float32():
    settings = ModelSettings("tiny", 24, 4)
    mae, _ = random_model(lambda: MAE(settings, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)), 0)
    images = jax.random.uniform(jax.random.key(0), (1, 24, 24, 3))
    inpainted, residual = fused(mae, BlockGrid(6, 3), images)
    assert inpainted.dtype == residual.dtype == jnp.float32
    exact = np.clip(4.0 * (np.asarray(inpainted) - np.asarray(images)), -1, 1)
    np.testing.assert_allclose(residual, exact, atol=1e-6)


def test_a_frozen_mae_in_bfloat16_gives_the_residual_of_float32():
    """Within what docs/benchmarks.md has for trained ones, with room: parts of the mean |R|."""
    settings = ModelSettings("tiny", 24, 4)
    images = jax.random.uniform(jax.random.key(0), (2, 24, 24, 3))
    exact, rounded = (
        fused(
            random_model(lambda dtype=dtype: MAE(settings, dtype=dtype, rngs=nnx.Rngs(0)), 0)[0],
            BlockGrid(6, 3),
            images,
        )[1]
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    error = np.abs(np.asarray(exact) - np.asarray(rounded))
    assert 0 < error.mean() < 0.03 * np.abs(exact).mean()


def analytic_flops(settings: ModelSettings, blocks: BlockGrid) -> int:
    """Matrix FLOPs of one image's residual, block by block, from the layer sizes alone."""
    size = dataclasses.asdict(settings.shape)
    width, decoder = size["width"], size["decoder_width"]
    pixels = 3 * settings.patch_size**2
    hidden = blocks.side**2
    tokens, everything = 1 + blocks.patches - hidden, 1 + blocks.patches

    def layer(width, tokens, queries):
        projections = 2 * width**2 * (2 * tokens + 2 * queries)
        attention = 4 * tokens * queries * width
        return projections + attention + 16 * queries * width**2

    encoder = size["depth"] * layer(width, tokens, tokens)
    full_decoder = (size["decoder_depth"] - 1) * layer(decoder, everything, everything)
    pruned = layer(decoder, everything, hidden)
    joints = 2 * tokens * width * decoder + 2 * hidden * decoder * pixels
    embedding = 2 * blocks.patches * pixels * width
    return embedding + blocks.count * (encoder + full_decoder + pruned + joints)


@pytest.mark.parametrize(("size", "k"), [("vit_b16", 4), ("vit_b16", 2), ("vit_ti16", 6)])
def test_matrix_flops_equal_the_analytic_count(size, k):
    settings, blocks = ModelSettings(size, 224, 16), BlockGrid(14, k)
    definition, abstract = abstract_mae(settings, jnp.float32)

    def flops(at_once):
        def whole(parameters, images):
            mae = nnx.merge(definition, nnx.State(parameters))
            return residual_image(mae, blocks, images, at_once=at_once)

        return matrix_flops(jax.make_jaxpr(whole)(abstract, images))

    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    counted = flops(None)
    assert counted == pytest.approx(analytic_flops(settings, blocks), rel=1e-3)
    assert flops(1) == flops(2) == counted
    if (size, k) == ("vit_b16", 4):
        assert counted == pytest.approx(686.4e9, rel=1e-3)
