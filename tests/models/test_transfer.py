"""A ViT started from a MAE, and positions of another grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from rffr_jax.models.layers import patchify
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.models.transfer import fold_normalisation, resize_positions, vit_from_mae
from rffr_jax.models.vit import ViT
from tests.models.test_models import random_model

SETTINGS = ModelSettings("tiny", image_size=24, patch_size=4)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_a_vit_from_a_mae_equals_the_encoder_with_nothing_hidden():
    mae, _ = random_model(lambda: MAE(SETTINGS, dtype=jnp.float32, rngs=nnx.Rngs(0)), 0)
    definition = nnx.graphdef(
        nnx.eval_shape(lambda: ViT(SETTINGS, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    )
    parameters = vit_from_mae(nnx.to_pure_dict(nnx.state(mae)), SETTINGS)
    normalised = dict(parameters, embedding=fold_normalisation(parameters["embedding"], MEAN, STD))
    images = jax.random.uniform(jax.random.key(1), (2, 24, 24, 3))
    everything = jnp.arange(36)
    expected = jax.jit(lambda: mae.encode(mae.embed(images), everything)[:, 0])()

    @jax.jit
    def feature(parameters, images):
        vit = nnx.merge(definition, nnx.State(parameters))
        return vit(patchify(images, 4), everything)

    np.testing.assert_allclose(feature(parameters, images), expected, atol=2e-5)
    shifted = (images - jnp.array(MEAN)) / jnp.array(STD)
    np.testing.assert_allclose(feature(normalised, shifted), expected, atol=5e-5)


def test_the_shift_by_the_mean_is_computed_in_float32_on_every_device():
    embedding = {"kernel": jnp.ones((48, 8)), "bias": jnp.ones(8)}
    program = jax.make_jaxpr(lambda embedding: fold_normalisation(embedding, MEAN, STD))(embedding)
    (product,) = (e for e in program.eqns if e.primitive.name == "dot_general")
    assert product.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2


def pillow_resized(square, grid):
    """Every channel of [side, side, width] resized by another library, with the same filter."""
    channels = [
        Image.fromarray(channel).resize((grid, grid), Image.Resampling.BICUBIC)
        for channel in np.moveaxis(square, -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


@pytest.mark.parametrize(("side", "grid"), [(14, 24), (14, 7), (5, 4), (2, 3)])
def test_resized_positions_equal_another_bicubic_filter(side, grid):
    positions = np.random.default_rng(side).standard_normal((1 + side**2, 6), np.float32)
    resized = np.asarray(resize_positions(jnp.asarray(positions), grid))
    expected = pillow_resized(positions[1:].reshape(side, side, 6), grid)
    np.testing.assert_array_equal(resized[0], positions[0])
    np.testing.assert_allclose(resized[1:].reshape(grid, grid, 6), expected, atol=2e-5)


def test_positions_of_the_same_grid_stay_to_the_bit():
    positions = jax.random.normal(jax.random.key(0), (17, 8))
    np.testing.assert_array_equal(resize_positions(positions, 4), positions)


def test_resized_positions_keep_rows_and_columns_apart():
    rows, columns = np.mgrid[0:8, 0:8].astype(np.float32)
    patches = np.stack([rows, columns], axis=-1).reshape(64, 2)
    positions = jnp.asarray(np.concatenate([[[99.0, 99.0]], patches]).astype(np.float32))
    resized = np.asarray(resize_positions(positions, 4)).astype(np.float64)
    np.testing.assert_array_equal(resized[0], 99.0)
    grid = resized[1:].reshape(4, 4, 2)[1:-1, 1:-1]  # the filter is cut off at the border
    centre = 2 * np.arange(1, 3) + 0.5  # of the two old patches that a new one covers
    np.testing.assert_allclose(grid[..., 0], np.tile(centre[:, None], (1, 2)), atol=0.05)
    np.testing.assert_allclose(grid[..., 1], np.tile(centre[None, :], (2, 1)), atol=0.05)
