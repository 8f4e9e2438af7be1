"""A ViT started from an MAE computes what its encoder computes."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rffr_jax.models.layers import patchify
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.models.transfer import reading_normalised, vit_from_mae
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
    normalised = dict(parameters, embedding=reading_normalised(parameters["embedding"], MEAN, STD))
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
