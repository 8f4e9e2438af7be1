"""MAE and detector against the float64 NumPy reference, on fresh random weights and inputs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.errors import UserError
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.models.detector import Detector
from rffr_jax.models.layers import patchify, unpatchify
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import SIZES, ModelSettings, model_size
from tests.models import reference

SETTINGS = ModelSettings("tiny", image_size=24, patch_size=4)


call = jax.jit(lambda model, *inputs: model(*inputs))


def random_model(build, seed) -> tuple[Any, Any]:
    """A model with random values in every parameter, so that no bias or norm is trivially 0 or 1,
    and the same values in float64."""
    definition, shapes = nnx.split(nnx.eval_shape(build))
    generator = np.random.default_rng(seed)
    state = jax.tree.map(
        lambda leaf: jnp.asarray(0.2 * generator.standard_normal(leaf.shape), leaf.dtype), shapes
    )
    return nnx.merge(definition, state), reference.as_float64(nnx.to_pure_dict(state))


def test_patchify_is_inverted_and_orders_pixels_by_row_column_channel():
    images = jax.random.uniform(jax.random.key(0), (2, 24, 24, 3))
    patches = patchify(images, 4)
    np.testing.assert_array_equal(patches[1], reference.patches_of(np.asarray(images[1]), 4))
    np.testing.assert_array_equal(unpatchify(patches, 4), images)


@pytest.mark.parametrize("seed", [0, 1])
def test_mae_equals_the_reference(seed):
    mae, parameters = random_model(lambda: MAE(SETTINGS, dtype=jnp.float32, rngs=nnx.Rngs(0)), seed)
    generator = np.random.default_rng(seed)
    images = generator.random((2, 24, 24, 3))
    hidden = np.stack([generator.permutation(36)[:5] for _ in images]).astype(np.int32)
    visible = np.stack([np.setdiff1d(np.arange(36), row) for row in hidden]).astype(np.int32)
    predicted = call(mae, jnp.asarray(images, jnp.float32), visible, hidden)
    for row in range(2):
        expected = reference.inpaint(parameters, SIZES["tiny"], 4, images[row], hidden[row])
        np.testing.assert_allclose(predicted[row], expected, atol=2e-5)


@pytest.mark.parametrize("inputs", ["both", "original", "residual"])
def test_detector_equals_the_reference(inputs):
    detector, parameters = random_model(
        lambda: Detector(SETTINGS, inputs=inputs, dtype=jnp.float32, rngs=nnx.Rngs(0)), 3
    )
    generator = np.random.default_rng(5)
    indices = np.stack([generator.permutation(36)[:7] for _ in range(2)]).astype(np.int32)
    patches = {name: generator.random((2, 7, 48)) for name in ("original", "residual")}
    logits = call(
        detector,
        {name: jnp.asarray(value, jnp.float32) for name, value in patches.items()},
        jnp.asarray(indices),
    )
    branches = ["original", "residual"] if inputs == "both" else [inputs]
    for row in range(2):
        features = [
            reference.class_feature(
                parameters["branches"][name], SIZES["tiny"], patches[name][row], indices[row]
            )
            for name in branches
        ]
        expected = reference.linear(np.concatenate(features), parameters["head"])
        np.testing.assert_allclose(logits[row], expected, atol=2e-5)


def test_order_of_patches_does_not_matter_but_their_place_does():
    detector, _ = random_model(
        lambda: Detector(SETTINGS, inputs="original", dtype=jnp.float32, rngs=nnx.Rngs(0)), 0
    )
    patches = jax.random.uniform(jax.random.key(1), (1, 6, 48))
    places = jnp.arange(6)
    logits = call(detector, {"original": patches}, places)
    shuffled = call(detector, {"original": patches[:, ::-1]}, places[::-1])
    np.testing.assert_allclose(shuffled, logits, atol=1e-5)
    moved = call(detector, {"original": patches}, places + 7)
    assert np.abs(moved - logits).max() > 1e-4


def test_padding_behind_the_length_has_no_influence():
    detector, _ = random_model(
        lambda: Detector(SETTINGS, inputs="both", dtype=jnp.float32, rngs=nnx.Rngs(0)), 1
    )
    generator = np.random.default_rng(2)
    indices = np.stack([generator.permutation(36)[:7] for _ in range(2)]).astype(np.int32)
    patches = {
        name: generator.random((2, 7, 48)).astype(np.float32) for name in ("original", "residual")
    }
    padded = call(detector, patches, indices, np.array([3, 7], np.int32))
    short = {name: value[:1, :3] for name, value in patches.items()}
    np.testing.assert_allclose(padded[0], call(detector, short, indices[:1, :3])[0], atol=1e-5)
    np.testing.assert_allclose(padded[1], call(detector, patches, indices)[1], atol=1e-5)


def test_bfloat16_keeps_float32_parameters_and_predictions():
    def build(dtype):
        return random_model(lambda: MAE(SETTINGS, dtype=dtype, rngs=nnx.Rngs(0)), 0)[0]

    mae = build(jnp.bfloat16)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(mae)))
    images = jax.random.uniform(jax.random.key(0), (1, 24, 24, 3))
    hidden, visible = jnp.arange(4), jnp.arange(4, 36)
    encoded = jax.eval_shape(lambda: mae.encode(mae.embed(images), visible))
    assert encoded.dtype == jnp.bfloat16
    predicted = call(mae, images, visible, hidden)
    assert predicted.dtype == jnp.float32
    exact = call(build(jnp.float32), images, visible, hidden)
    np.testing.assert_allclose(predicted, exact, atol=0.02 * np.abs(exact).max())


def test_equal_blocks_are_stacked_on_a_leading_axis_and_start_different():
    mae = jax.jit(lambda: nnx.state(MAE(SETTINGS, dtype=jnp.float32, rngs=nnx.Rngs(0))))()
    kernel = nnx.to_pure_dict(mae)["encoder"]["blocks"]["qkv"]["kernel"]
    assert kernel.shape == (2, 32, 96)
    assert not np.allclose(kernel[0], kernel[1])


@pytest.mark.parametrize(
    ("size", "image", "patch"), [("huge", 32, 16), ("tiny", 33, 16), ("tiny", 32, 0)]
)
def test_shapes_that_do_not_fit_are_user_errors(size, image, patch):
    with pytest.raises(UserError, match=r"model\."):
        ModelSettings(size, image, patch)


@pytest.mark.slow
def test_remat_changes_no_gradient_and_keeps_less():
    images = jax.random.uniform(jax.random.key(0), (8, 24, 24, 3))
    blocks = BlockGrid(6, 3)
    visible, hidden = jnp.asarray(blocks.visible[4]), jnp.asarray(blocks.hidden[4])

    def step(remat):
        mae, _ = random_model(
            lambda: MAE(SETTINGS, dtype=jnp.float32, remat=remat, rngs=nnx.Rngs(0)), 0
        )
        definition, parameters = nnx.split(mae)

        def loss(parameters):
            return jnp.mean(nnx.merge(definition, parameters)(images, visible, hidden) ** 2)

        compiled = jax.jit(jax.value_and_grad(loss)).lower(parameters).compile()
        plan = compiled.memory_analysis()
        assert plan is not None
        return compiled(parameters), plan.temp_size_in_bytes

    (loss, gradients), memory = step(remat=False)
    (same_loss, same_gradients), less = step(remat=True)
    np.testing.assert_allclose(same_loss, loss, rtol=1e-6)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
    for one, other in zip(*map(jax.tree.leaves, (gradients, same_gradients)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6 * largest)
    assert less < 0.7 * memory


@pytest.mark.parametrize("inputs", ["both", "residual"])
def test_attention_of_the_class_token_equals_the_reference(inputs):
    """The mean over heads in the last block, of tokens that the reference took there."""
    detector, parameters = random_model(
        lambda: Detector(SETTINGS, inputs=inputs, dtype=jnp.float32, rngs=nnx.Rngs(0)), 6
    )
    generator = np.random.default_rng(7)
    indices = generator.permutation(36)[:9].astype(np.int32)
    patches = {name: generator.random((2, 9, 48)) for name in ("original", "residual")}
    as_float32 = {name: jnp.asarray(value, jnp.float32) for name, value in patches.items()}
    found = jax.jit(lambda model, *x: model.class_attention(*x))(detector, as_float32, indices)
    size = SIZES["tiny"]
    width = size.width // size.heads
    for branch, name in enumerate(["original", "residual"] if inputs == "both" else [inputs]):
        p = parameters["branches"][name]
        last = reference.layer(p["transformer"]["blocks"], size.depth - 1)
        for row in range(2):
            tokens = reference.linear(patches[name][row], p["embedding"])
            tokens = tokens + p["positions"][1:][indices]
            x = np.concatenate([(p["class_token"] + p["positions"][0])[None], tokens])
            x = reference.transformer(x, p["transformer"]["blocks"], size.depth - 1, size.heads)
            qkv = reference.linear(reference.norm(x, last["attention_norm"]), last["qkv"])
            query, key, _ = np.split(qkv, 3, axis=-1)
            total = np.zeros(10)
            for head in range(size.heads):
                part = slice(head * width, (head + 1) * width)
                exponents = np.exp(key[:, part] @ query[0, part] / np.sqrt(width))
                total += exponents / exponents.sum() / size.heads
            np.testing.assert_allclose(found[row, branch], total[1:], atol=2e-5)


def test_heads_behind_the_name_of_a_size_that_ends_like_them():
    huge = model_size("vit_h14")
    assert (huge.width, huge.depth, huge.heads, huge.decoder_heads) == (1280, 32, 16, 16)
    assert model_size("vit_h14_h8_dh4") == dataclasses.replace(huge, heads=8, decoder_heads=4)
    with pytest.raises(UserError, match="vit_h15"):
        model_size("vit_h15")
