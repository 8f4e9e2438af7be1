"""What a file of weights does not say is assumed and said to be; settings beside it count only
where they agree with its arrays."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.convert.importing import ImportOptions, import_weights
from rffr_jax.convert.tables import MAE_TABLES, VIT_TABLES
from rffr_jax.models.abstract import abstract_vit
from rffr_jax.models.sizes import SIZES, ModelSettings
from scripts import convert_weights
from tests.convert.source_files import about, beside, convert, mae_arrays, vit_arrays, write
from tests.models import reference

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
NONE = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
OTHER = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.7, 0.8, 0.9]}
SIZES_OF_TINY = {"hidden_size": 32, "num_hidden_layers": 2, "patch_size": 12, "image_size": 48}
VIT = {"model_type": "vit", **SIZES_OF_TINY}


@pytest.fixture
def vit(tmp_path):
    return write(tmp_path / "model.safetensors", vit_arrays(VIT_TABLES["hf4"]))


@pytest.fixture
def mae(tmp_path):
    return write(tmp_path / "mae" / "model.safetensors", mae_arrays(MAE_TABLES["hf4"]))


def told(file, **asked):
    return import_weights(file, ImportOptions(**asked)).about["provenance"]["told"]


def notes(file) -> str:
    return " | ".join(import_weights(file).notes)


# ---- heads


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_heads_that_are_asked_for_are_computed(tmp_path, heads):
    file = write(tmp_path / "vit.safetensors", vit_arrays())
    imported = import_weights(file, ImportOptions(heads=heads))
    settings = ModelSettings(**imported.about["model"])
    assert settings.size == ("tiny" if heads == 2 else f"tiny_h{heads}")
    patches = np.random.default_rng(0).random((1, 16, 432), np.float32)
    model = nnx.merge(abstract_vit(settings)[0], nnx.State(imported.parameters))
    found = model(jnp.asarray(patches), jnp.arange(16))
    size = dataclasses.replace(SIZES["tiny"], heads=heads)
    parameters = reference.as_float64(imported.parameters)
    expected = reference.class_feature(
        parameters, size, patches[0].astype(np.float64), np.arange(16)
    )
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-4)


def test_heads_are_those_of_the_flag_then_the_arrays_then_the_settings(vit, mae, tmp_path, refused):
    beside(vit, config={**VIT, "num_attention_heads": 4})
    assert import_weights(vit).about["model"]["size"] == "tiny_h4"
    assert told(vit)["config.json"][0] == "4 heads of 8 channels"
    assert told(vit, heads=8)["--heads"] == ["8 heads of 4 channels"]
    beside(mae, config={"model_type": "vit_mae", "decoder_num_attention_heads": 16})
    assert import_weights(mae).about["model"]["size"] == "tiny_dh16"
    asked = ImportOptions(heads=8, decoder_heads=4)
    assert import_weights(mae, asked).about["model"]["size"] == "tiny_h8_dh4"

    arrays = vit_arrays(VIT_TABLES["google"])
    for name in arrays:
        if name.endswith(("query/kernel", "key/kernel", "value/kernel")):
            arrays[name] = arrays[name].reshape(32, 4, 8)
    google = write(tmp_path / "google" / "vit.npz", arrays)
    assert told(google) == {"the arrays": ["4 heads of 8 channels"]}
    assert "--heads 2, but its arrays have 4" in refused(google, "--heads", "2")


def test_heads_that_do_not_divide_the_width_are_refused(vit, refused):
    for heads in ("5", "0", "-2"):
        line = refused(vit, "--heads", heads)
        assert f"{heads} heads told by --heads does not divide the width 32" in line
    assert "has no decoder, so leave out --decoder-heads" in refused(vit, "--decoder-heads", "2")


@pytest.mark.parametrize("kind", ["timm", "hf"])
def test_heads_survive_the_way_out_and_in(tmp_path, vit, kind):
    assert convert(vit, tmp_path / "ours", "--heads", "4") == 0
    out = tmp_path / "out" / "vit.safetensors"
    out.parent.mkdir()
    flags = ["--input", str(tmp_path / "ours"), "--export", str(out), "--kind", kind]
    assert convert_weights.main(flags) == 0
    assert import_weights(out).about["model"]["size"] == "tiny_h4"


# ---- settings beside the file


def test_settings_that_agree_tell_the_normalisation(vit, mae, capsys):
    for file, config in ((vit, VIT), (mae, {"model_type": "vit_mae", **SIZES_OF_TINY})):
        beside(file, config=config, preprocessor_config=OTHER)
        trained = import_weights(file).about["provenance"]["trained_with"]
        assert trained == {"mean": (0.1, 0.2, 0.3), "std": (0.7, 0.8, 0.9)}
        (fact,) = told(file)["preprocessor_config.json"]
        assert fact.endswith("normalised with mean (0.1, 0.2, 0.3), std (0.7, 0.8, 0.9)")
        assert told(file, normalisation="imagenet").keys() >= {"--normalisation"}
        assert "preprocessor_config.json" not in told(file, normalisation="imagenet")
    assert convert(vit, vit.with_name("out")) == 0
    assert "told by preprocessor_config.json:\n  trained on pixels" in capsys.readouterr().out
    assert about(vit.with_name("out"))["normalisation"]["mean"] == OTHER["image_mean"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({**VIT, "hidden_size": 768}, "its hidden_size is 768, and the arrays have 32"),
        ({**VIT, "num_hidden_layers": 12}, "its num_hidden_layers is 12, and the arrays have 2"),
        ({**VIT, "patch_size": 16}, "its patch_size is 16, and the arrays have 12"),
        ({**VIT, "image_size": 224}, "its image_size is 224, and the arrays have 48"),
        ({**VIT, "num_attention_heads": 12}, "its num_attention_heads 12 does not divide"),
        ({**VIT, "num_attention_heads": "2"}, "its num_attention_heads '2' does not divide"),
        ({**VIT, "model_type": "swin"}, "its model_type is 'swin', and the arrays are a ViT"),
        ({"architecture": "vit_tiny"}, "its architecture 'vit_tiny' is not that of the arrays"),
        ({"id2label": {}}, "it says nothing of the model that can be compared with the arrays"),
        (None, "no config.json is beside it that agrees with the arrays"),
    ],
)
def test_settings_of_another_model_are_not_used_and_the_reason_is_told(vit, config, why):
    beside(vit, preprocessor_config={**OTHER, "do_rescale": False})
    if config is not None:
        beside(vit, config={**config, "hidden_act": "relu", **OTHER})
    imported = import_weights(vit)
    assert imported.about["model"]["size"] == "tiny"
    assert imported.about["normalisation"] == {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert imported.about["provenance"]["told"] == {}
    assert why in notes(vit)
    assert "preprocessor_config.json was not used" in notes(vit)


def test_settings_of_transformers_are_not_those_of_facebooks_arrays(tmp_path):
    """The sizes agree: only the names of the arrays tell that these are not its settings."""
    file = write(tmp_path / "mae_visualize.safetensors", mae_arrays())
    plain = import_weights(file).about["provenance"]["trained_with"]
    beside(file, config={**VIT, **OTHER}, preprocessor_config=OTHER)
    assert import_weights(file).about["provenance"]["trained_with"] == plain
    assert "model_type 'vit' is of transformers, the arrays' names are not" in notes(file)


@pytest.mark.parametrize("model_type", ["vit", "deit"])
def test_settings_of_a_vit_are_not_those_of_a_mae(mae, model_type):
    beside(mae, config={**SIZES_OF_TINY, "model_type": model_type, "norm_pix_loss": True})
    assert not import_weights(mae).about["normalised_targets"]
    assert "and the arrays are a MAE with a decoder" in notes(mae)


def test_settings_of_timm(tmp_path, refused):
    file = write(tmp_path / "vit.safetensors", vit_arrays())
    config = {"architecture": "vit_tiny_patch12_48", "num_features": 32}
    beside(file, config={**config, "pretrained_cfg": IMAGENET, "model_args": {"num_heads": 4}})
    imported = import_weights(file).about
    assert imported["normalisation"]["mean"] == tuple(IMAGENET["mean"])
    assert imported["model"]["size"] == "tiny_h4"
    beside(file, config={**config, "pretrained_cfg": {"num_classes": 1000}})
    assert import_weights(file).about["normalisation"]["mean"] == (0.5,) * 3
    beside(file, config={**config, "architecture": "vit_tiny_patch16_224"})
    assert "its architecture is 'vit_tiny_patch16_224', the arrays have 12" in notes(file)
    beside(file, config={**config, "architecture": "vit_tiny_patch12_clip_quickgelu_48"})
    assert "hidden_act 'quick_gelu'" in refused(file)


# ---- pixels


@pytest.mark.parametrize(
    ("said", "mean", "std"),
    [
        ({**OTHER, "do_normalize": False}, 0.0, 1.0),
        ({"do_normalize": False, "do_rescale": True, "rescale_factor": 1 / 255}, 0.0, 1.0),
        ({**OTHER, "do_rescale": True, "rescale_factor": 1 / 255}, 0.1, 0.7),
        ({**OTHER, "rescale_factor": 1 / 127.5}, 0.05, 0.35),
        ({"image_mean": [25.5] * 3, "image_std": [51] * 3, "do_rescale": False}, 0.1, 0.2),
    ],
)
def test_what_is_done_to_pixels_before_the_network(vit, said, mean, std):
    beside(vit, config=VIT, preprocessor_config=said)
    trained = import_weights(vit).about["normalisation"]
    assert (trained["mean"][0], trained["std"][0]) == pytest.approx((mean, std), rel=1e-6)


@pytest.mark.parametrize("normalised", [True, False])
def test_pixels_of_a_range_that_nobody_tells_are_refused(vit, refused, normalised):
    said = {**OTHER, "do_normalize": normalised, "do_rescale": False}
    beside(vit, config=VIT, preprocessor_config=said)
    line = refused(vit)
    assert "preprocessor_config.json says do_rescale false" in line
    assert "say --normalisation" in line
    trained = import_weights(vit, ImportOptions(normalisation="none")).about["normalisation"]
    assert trained == {"mean": (0.0,) * 3, "std": (1.0,) * 3}


# ---- arithmetic


@pytest.mark.parametrize("activation", ["gelu_new", "quick_gelu", "gelu_pytorch_tanh", "relu"])
def test_other_activations_are_refused(vit, mae, refused, activation):
    beside(vit, config={**VIT, "hidden_act": activation})
    beside(mae, config={"model_type": "vit_mae", "hidden_act": activation})
    for file in (vit, mae):
        line = refused(file)
        assert f"config.json says hidden_act {activation!r}; only the exact 'gelu'" in line


def test_another_epsilon_is_said(vit):
    for epsilon, warned in ((1e-5, True), (1e-6, False), (1e-12, False)):
        beside(vit, config={**VIT, "hidden_act": "gelu", "layer_norm_eps": epsilon})
        assert (f"WARNING: config.json says layer_norm_eps {epsilon}" in notes(vit)) == warned
        assert f"layer norms with epsilon {epsilon}" in told(vit)["config.json"]
        assert "exact GELU" in told(vit)["config.json"]
