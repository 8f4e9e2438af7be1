"""A MAE of normalised pixels becomes one of pixels in [0, 1] by its weights alone."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.convert.normalisation import (
    NORMALISATIONS,
    Normalisation,
    fold_normalisation,
    normalisation_by_name,
)
from rffr_jax.errors import UserError
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import SIZES, ModelSettings
from tests.models import reference
from tests.models.test_models import random_model

UNEQUAL = Normalisation((0.9, 0.1, -0.4), (0.2, 1.5, 0.7))


@pytest.mark.parametrize("normalisation", [*NORMALISATIONS.values(), UNEQUAL])
def test_folding_changes_nothing_of_what_a_mae_computes(normalisation):
    """In float64, so that only the rounding of the folded weights to float32 is left."""
    settings = ModelSettings("tiny", image_size=24, patch_size=4)
    _, parameters = random_model(lambda: MAE(settings, dtype=jnp.float32, rngs=nnx.Rngs(0)), 0)
    generator = np.random.default_rng(1)
    image, hidden = generator.random((24, 24, 3)), generator.permutation(36)[:4]

    def inpaint(parameters, image):
        return reference.inpaint(parameters, SIZES["tiny"], 4, image, hidden)

    mean, std = np.array(normalisation.mean), np.array(normalisation.std)
    expected = inpaint(parameters, (image - mean) / std) * np.tile(std, 16) + np.tile(mean, 16)
    folded = inpaint(reference.as_float64(fold_normalisation(parameters, normalisation)), image)
    np.testing.assert_allclose(folded, expected, rtol=0, atol=1e-6)


def test_no_normalisation_leaves_every_bit():
    generator = np.random.default_rng(2)
    parameters = {
        "embedding": {"kernel": generator.random((48, 8)), "bias": generator.random(8)},
        "prediction": {"kernel": generator.random((8, 48)), "bias": generator.random(48)},
    }
    for name, part in fold_normalisation(parameters, NORMALISATIONS["none"]).items():
        for leaf, array in part.items():
            np.testing.assert_array_equal(array, parameters[name][leaf].astype(np.float32))


def test_an_unknown_name_is_a_user_error():
    with pytest.raises(UserError, match="none, half, imagenet"):
        normalisation_by_name("caffe")


@pytest.mark.parametrize("std", [(0.5, 0.0, 0.5), (0.5, 0.5, -0.1), (np.nan, 0.5, 0.5)])
def test_a_spread_that_is_not_above_zero_is_refused(std):
    with pytest.raises(ValueError, match="normalise nothing"):
        Normalisation((0.5, 0.5, 0.5), std)
