"""Whether a decoder predicts pixels or normalised patches is told by what it predicts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from rffr_jax.convert.importing import Asked, import_weights
from rffr_jax.convert.normalisation import NORMALISATIONS
from rffr_jax.convert.rules import to_source
from rffr_jax.convert.tables import FACEBOOK_MAE, MAE_TABLES, fixed_positions
from rffr_jax.convert.targets import explained, probe, smooth_pictures
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.layers import patchify
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings
from tests.convert.source_files import beside, convert, mae_arrays, write

SETTINGS = ModelSettings("tiny", image_size=32, patch_size=8)
IMAGENET = NORMALISATIONS["imagenet"]
STEPS = 150


def normalised(patches):
    spread = jnp.sqrt(patches.var(axis=-1, keepdims=True) + 1e-6)
    return (patches - patches.mean(axis=-1, keepdims=True)) / spread


@functools.cache
def trained(normalise: bool):
    """A MAE of other smooth pictures than those of the probe: turned, and in other colours."""
    pictures = np.concatenate([np.rot90(smooth_pictures(32), n, (1, 2)) for n in (1, 3)])
    pictures = jnp.asarray((pictures[..., ::-1] - IMAGENET.mean) / IMAGENET.std, jnp.float32)
    return jax.device_get(train(fresh(), pictures, normalise))


def fresh():
    mae = MAE(SETTINGS, dtype=jnp.float32, rngs=nnx.Rngs(0))
    return jax.device_get(nnx.to_pure_dict(nnx.split(mae)[1]))


@jax.jit
def train(parameters, pictures, normalise):
    definition, _ = abstract_mae(SETTINGS)
    optimizer = optax.adam(3e-3)

    def loss(parameters, order):
        hidden, visible = jnp.split(order, 2)
        target = patchify(pictures, 8)[:, hidden]
        target = jnp.where(normalise, normalised(target), target)
        predicted = nnx.merge(definition, nnx.State(parameters))(pictures, visible, hidden)
        return jnp.square(predicted - target).mean()

    def step(state, key):
        parameters, moments = state
        gradients = jax.grad(loss)(parameters, jax.random.permutation(key, 16))
        updates, moments = optimizer.update(gradients, moments)
        return (optax.apply_updates(parameters, updates), moments), None

    keys = jax.random.split(jax.random.key(0), STEPS)
    state = (parameters, optimizer.init(parameters))
    return jax.lax.scan(step, state, keys)[0][0]


def file_of(folder, parameters, table=FACEBOOK_MAE):
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**parameters, **fixed_positions(SETTINGS)}
    return write(folder / "model.safetensors", to_source(whole, table, SETTINGS.shape.heads))


@pytest.mark.parametrize("normalise", [False, True])
def test_a_trained_decoder_tells_its_targets_whatever_its_file_is_called(tmp_path, normalise):
    found = probe(trained(normalise), SETTINGS, IMAGENET)
    assert found.normalised_targets == normalise
    assert min(found.pixels, found.normalised) < 0
    file = file_of(tmp_path, trained(normalise))
    for name in ("mae_visualize_vit_base", "mae_pretrain_vit_base_full"):
        file = file.rename(tmp_path / f"{name}.safetensors")
        imported = import_weights(file)
        assert imported.about["normalised_targets"] == normalise
        (fact,) = imported.about["provenance"]["told"]["the arrays"]
        kind = "normalised patches" if normalise else "pixels"
        assert fact.startswith(f"its decoder predicts {kind} (on drawn pictures")
        assert any("its residuals will be poor" in n for n in imported.notes) == normalise


@pytest.mark.parametrize("normalise", [False, True])
def test_settings_and_flags_count_more_and_a_contradiction_is_said(tmp_path, normalise):
    file = file_of(tmp_path, trained(normalise), MAE_TABLES["hf4"])
    asked = Asked(targets="pixels" if normalise else "normalised")
    imported = import_weights(file, asked)
    assert imported.about["normalised_targets"] != normalise
    assert any("WARNING: --targets says that its decoder" in note for note in imported.notes)
    for told in (False, True):
        beside(file, config={"model_type": "vit_mae", "norm_pix_loss": told})
        imported = import_weights(file)
        assert imported.about["normalised_targets"] == told
        contradicted = any("and the arrays say otherwise" in note for note in imported.notes)
        assert contradicted == (told != normalise)


def test_random_weights_tell_nothing_and_pixels_are_assumed(tmp_path):
    assert probe(fresh(), SETTINGS, IMAGENET).normalised_targets is None
    imported = import_weights(file_of(tmp_path, fresh()))
    assert imported.about["normalised_targets"] is False
    assert "its arrays do not tell" in imported.about["provenance"]["assumed"][-1]


def test_what_predictions_explain():
    """Perfect ones explain all; a constant, noise and the other target explain nothing."""
    generator = np.random.default_rng(0)
    pixels = generator.random((4, 9, 1)) + 0.1 * generator.standard_normal((4, 9, 48))
    target = np.asarray(normalised(pixels))
    assert explained(pixels, pixels).pixels == 1
    assert explained(pixels, pixels).normalised < 0.1
    assert explained(target, pixels).normalised == pytest.approx(1, abs=1e-4)
    assert explained(target, pixels).pixels < 0
    for useless in (np.full_like(pixels, pixels.mean()), generator.standard_normal(pixels.shape)):
        assert explained(useless, pixels).normalised_targets is None


def test_an_unknown_target_is_refused(tmp_path, capsys):
    file = write(tmp_path / "mae.safetensors", mae_arrays())
    assert convert(file, tmp_path / "out", "--targets", "faces") == 2
    assert "--targets 'faces' is not known; choose auto, pixels" in capsys.readouterr().err
    vit_only = {n: a for n, a in mae_arrays().items() if "decoder" not in n and n != "mask_token"}
    file = write(tmp_path / "vit.safetensors", vit_only)
    assert convert(file, tmp_path / "out", "--targets", "pixels") == 2
    assert "has no decoder, so leave out --targets" in capsys.readouterr().err
