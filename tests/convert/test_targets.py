"""Whether a decoder predicts pixels or normalised patches is told by what it predicts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.convert.importing import ImportOptions, import_weights
from rffr_jax.convert.normalisation import NORMALISATIONS
from rffr_jax.convert.rules import to_source
from rffr_jax.convert.tables import FACEBOOK_MAE, MAE_TABLES, fixed_positions
from rffr_jax.convert.targets import explained_variance, probe_decoder, smooth_pictures
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.layers import patchify
from rffr_jax.models.sizes import ModelSettings
from tests.convert.source_files import beside, convert, mae_arrays, random_parameters, write

SETTINGS = ModelSettings("tiny", image_size=32, patch_size=8)
IMAGENET = NORMALISATIONS["imagenet"]


def normalised(patches):
    spread = np.sqrt(patches.var(axis=-1, keepdims=True) + 1e-6)
    return (patches - patches.mean(axis=-1, keepdims=True)) / spread


def untrained():
    return random_parameters(abstract_mae(SETTINGS)[1], seed=0)


@functools.cache
def features():
    """What the prediction layer of random weights reads, and the pixels that it should predict.

    Of other pictures than those of the probe: turned, mirrored, and in other colours.
    """
    drawn = smooth_pictures(32)[..., ::-1]
    turned = [np.rot90(drawn, turns, (1, 2)) for turns in (1, 2, 3)]
    pictures = np.concatenate([*turned, *(picture[:, ::-1] for picture in turned)])
    pictures = jnp.asarray((pictures - IMAGENET.mean) / IMAGENET.std, jnp.float32)
    definition, _ = abstract_mae(SETTINGS)
    width, pixels = SETTINGS.shape.decoder_width, 3 * SETTINGS.patch_size**2
    readout = {"kernel": np.eye(width, pixels), "bias": np.zeros(pixels)}

    @jax.jit
    def decoded(order):
        hidden, visible = jnp.split(order, 2)
        mae = nnx.merge(definition, nnx.State({**untrained(), "prediction": readout}))
        return mae(pictures, visible, hidden)[..., :width], patchify(pictures, 8)[:, hidden]

    generator = np.random.default_rng(1)
    pairs = [decoded(jnp.asarray(generator.permutation(16))) for _ in range(8)]
    return [
        np.concatenate([np.asarray(part).reshape(-1, part.shape[-1]) for part in parts])
        for parts in zip(*pairs, strict=True)
    ]


@functools.cache
def trained(normalise: bool):
    """Random weights whose prediction layer is fitted to pixels, or to normalised patches."""
    read, target = features()
    target = normalised(target) if normalise else target
    fitted = np.linalg.lstsq(np.pad(read, ((0, 0), (0, 1)), constant_values=1), target)[0]
    fitted = fitted.astype(np.float32)
    return {**untrained(), "prediction": {"kernel": fitted[:-1], "bias": fitted[-1]}}


def file_of(folder, parameters, table=FACEBOOK_MAE):
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**parameters, **fixed_positions(SETTINGS)}
    return write(folder / "model.safetensors", to_source(whole, table, SETTINGS.shape.heads))


@pytest.mark.parametrize("normalise", [False, True])
def test_a_trained_decoder_tells_its_targets_whatever_its_file_is_called(tmp_path, normalise):
    found = probe_decoder(trained(normalise), SETTINGS, IMAGENET)
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
    asked = ImportOptions(targets="pixels" if normalise else "normalised")
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
    assert probe_decoder(untrained(), SETTINGS, IMAGENET).normalised_targets is None
    imported = import_weights(file_of(tmp_path, untrained()))
    assert imported.about["normalised_targets"] is False
    assert "its arrays do not tell" in imported.about["provenance"]["assumed"][-1]


def test_what_predictions_explain():
    """Perfect ones explain all; a constant, noise and the other target explain nothing."""
    generator = np.random.default_rng(0)
    pixels = generator.random((4, 9, 1)) + 0.1 * generator.standard_normal((4, 9, 48))
    target = np.asarray(normalised(pixels))
    assert explained_variance(pixels, pixels).pixels == 1
    assert explained_variance(pixels, pixels).normalised < 0.1
    assert explained_variance(target, pixels).normalised == pytest.approx(1, abs=1e-4)
    assert explained_variance(target, pixels).pixels < 0
    for useless in (np.full_like(pixels, pixels.mean()), generator.standard_normal(pixels.shape)):
        assert explained_variance(useless, pixels).normalised_targets is None


def test_an_unknown_target_is_refused(tmp_path, capsys):
    file = write(tmp_path / "mae.safetensors", mae_arrays())
    assert convert(file, tmp_path / "out", "--targets", "faces") == 2
    assert "--targets 'faces' is not known; choose auto, pixels" in capsys.readouterr().err
    vit_only = {n: a for n, a in mae_arrays().items() if "decoder" not in n and n != "mask_token"}
    file = write(tmp_path / "vit.safetensors", vit_only)
    assert convert(file, tmp_path / "out", "--targets", "pixels") == 2
    assert "has no decoder, so leave out --targets" in capsys.readouterr().err
