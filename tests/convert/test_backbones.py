"""Files of Xception and EfficientNet: what is read, what is told, what is refused in one line."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy

from rffr_jax.convert.importing import import_weights
from rffr_jax.convert.vision_transformers import find_facts
from rffr_jax.models.sizes import BackboneSettings
from tests.convert.source_files import beside, vit_arrays, write

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
XCEPTION = FIXTURES / "xception" / "model.safetensors"


def test_files_that_lack_pieces_or_hold_others_are_refused(refused, tmp_path):
    arrays = safetensors.numpy.load_file(XCEPTION)

    def written(name, **changes):
        safetensors.numpy.save_file({**arrays, **changes}, tmp_path / f"{name}.safetensors")
        return tmp_path / f"{name}.safetensors"

    whole, folder = dict(arrays), tmp_path
    del arrays["block2.skip.weight"], arrays["bn3.running_var"]
    line = refused(written("missing"))
    assert "does not fit; missing: block2.skip.weight, bn3.running_var" in line
    arrays.clear()
    arrays.update(whole)
    assert "no such array here: block9.more" in refused(
        written("more", **{"block9.more": np.ones(1, np.float32)})
    )
    line = refused(written("misshaped", **{"conv3.pointwise.weight": np.ones((3, 3), np.float32)}))
    assert "misshaped: conv3.pointwise.weight (3, 3)" in line
    arrays.clear()
    arrays["_conv_stem.weight"] = np.ones((32, 3, 3, 3), np.float32)
    assert "efficientnet_pytorch; timm's tf_efficientnet is read" in refused(written("other"))
    shutil.copy(XCEPTION, folder / "x.safetensors")
    line = refused(folder / "x.safetensors", "--heads", "4")
    assert "is a xception, so leave out --heads" in line


def test_pointwise_kernels_of_two_axes_are_read(tmp_path):
    """As in the files of `pretrainedmodels`, whose classifier is called `last_linear`."""
    arrays = safetensors.numpy.load_file(XCEPTION)
    cadene = {
        name.replace("fc.", "last_linear."): array[:, :, 0, 0] if ".pointwise." in name else array
        for name, array in arrays.items()
    }
    contiguous = {name: np.ascontiguousarray(array) for name, array in cadene.items()}
    safetensors.numpy.save_file(contiguous, tmp_path / "xception.safetensors")
    found, expected = import_weights(tmp_path / "xception.safetensors"), import_weights(XCEPTION)
    jax.tree.map(np.testing.assert_array_equal, found.parameters, expected.parameters)
    assert {*found.about["provenance"]["left_out"]} == {"last_linear.weight", "last_linear.bias"}


@pytest.mark.parametrize(
    ("name", "config", "mean"),
    [
        ("tf_efficientnet_ap.safetensors", "", 0.5),
        ("model.safetensors", "", 0.485),
        (
            "model.safetensors",
            '{"architecture": "tf_efficientnet_b4", "pretrained_cfg":'
            ' {"mean": [0.25, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}',
            0.25,
        ),
        (
            "model.safetensors",
            '{"architecture": "resnet50", "pretrained_cfg":'
            ' {"mean": [0.25, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}',
            0.485,
        ),
    ],
)
def test_the_normalisation_is_told_by_timm_or_assumed(tmp_path, name, config, mean):
    source = FIXTURES / "efficientnet" / "tf_efficientnet_tiny_ap.safetensors"
    shutil.copy(source, tmp_path / name)
    if config:
        (tmp_path / "config.json").write_text(config)
    about = import_weights(tmp_path / name).about
    assert about["normalisation"]["mean"][0] == mean
    told = about["provenance"]["told"]
    assert bool(told) == (mean == 0.25)


ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a | {"reg_token": ONE}, "no such array here: reg_token"),
        (lambda a: a | {"blocks.0.ls1.gamma": ONE}, "blocks.1.ls1.gamma"),
        (lambda a: a | {"norm_pre.weight": ONE}, "no such array here: patch_embed.proj.bias"),
        (lambda a: a | {"blocks.0.ls1.gamma": ONE, "blocks.0.mlp.w12.weight": ONE}, "SwiGLU"),
        (lambda a: {"embeddings.patch_embedding.weight": np.ones((4, 3, 2, 2))}, "no class token"),
    ],
)
def test_vision_transformers_that_do_not_fit_are_refused(refused, tmp_path, change, says):
    assert says in refused(write(tmp_path / "vit.npz", change(vit_arrays())))


def test_a_missing_shard_is_named(refused, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(FIXTURES / "vision" / "clip", folder)
    lost = sorted(folder.glob("*.safetensors"))[1]
    lost.unlink()
    assert f"missing beside it: {lost.name}" in refused(folder)


def test_heads_and_activations_that_are_not_possible_are_refused(refused, tmp_path):
    folder = tmp_path / "dinov2"
    shutil.copytree(FIXTURES / "vision" / "dinov2", folder)
    assert "3 heads do not divide the width 32" in refused(folder, "--heads", "3")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"gelu"', '"relu"'))
    assert "hidden_act 'relu'; only gelu and quick_gelu" in refused(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "clip", "vision_config": {"model_type": "clip_vision_model"}},
        {"model_type": "clip", "vision_config": {}},
        {"model_type": "clip_vision_model"},
    ],
)
def test_what_a_config_of_clip_leaves_out_is_the_default(tmp_path, config):
    """As in those of transformers, which write only what differs from a ViT-B/32."""
    settings = BackboneSettings(768, 12, 12, 224, 32, norm_before=True, activation="quick_gelu")
    config.get("vision_config", config)["hidden_act"] = "gelu"
    (tmp_path / "config.json").write_text(json.dumps(config))
    found, facts = find_facts(settings, tmp_path / "model.safetensors", None)
    assert (found.activation, found.heads, found.epsilon) == ("gelu", 12, 1e-5)
    assert facts.keys() == {"config.json"}


def test_a_config_that_is_not_used_is_told(tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(FIXTURES / "vision" / "clip", folder)
    index = next(folder.glob("*.index.json"))
    told = "config.json beside it tells no heads, activation or epsilon"
    assert not any(note.startswith(told) for note in import_weights(index).notes)
    config = json.loads((folder / "config.json").read_text())
    del config["vision_config"]["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    assert sum(note.startswith(told) for note in import_weights(index).notes) == 1


HALF_OF_255 = {"image_mean": [127.5] * 3, "image_std": [51] * 3, "do_rescale": False}


@pytest.fixture
def dinov2(tmp_path):
    shutil.copytree(FIXTURES / "vision" / "dinov2", tmp_path / "dinov2")
    return tmp_path / "dinov2" / "model.safetensors"


@pytest.mark.parametrize(
    ("said", "mean", "std"),
    [
        (HALF_OF_255, 0.5, 0.2),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": False}, 0, 1),
        ({"image_mean": [0] * 3, "image_std": [1] * 3, "rescale_factor": 1 / 127.5}, 0, 0.5),
    ],
)
def test_the_preprocessor_says_what_is_done_to_pixels(dinov2, said, mean, std):
    beside(dinov2, preprocessor_config=said)
    about = import_weights(dinov2).about
    found = [about["normalisation"][name] for name in ("mean", "std")]
    np.testing.assert_allclose(found, [[mean] * 3, [std] * 3], rtol=1e-6)
    (fact,) = about["provenance"]["told"]["preprocessor_config.json"]
    assert fact.startswith("trained on pixels in [0, 1] normalised with")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"image_mean": [0.5], "image_std": [0.5]}, "are not three numbers each"),
        ({"image_mean": [0] * 3, "image_std": [1] * 3, "do_rescale": False}, "says do_rescale"),
    ],
)
def test_a_preprocessor_that_leaves_the_pixels_open_is_refused(dinov2, refused, said, why):
    beside(dinov2, preprocessor_config=said)
    assert why in refused(dinov2)


@pytest.mark.parametrize(
    "change", [None, {"model_type": "vit"}, {"hidden_size": 768}, {"patch_size": 14}]
)
def test_a_preprocessor_counts_only_beside_the_config_of_the_network(dinov2, change):
    beside(dinov2, preprocessor_config=HALF_OF_255)
    config = dinov2.with_name("config.json")
    if change is None:
        config.unlink()
    else:
        beside(dinov2, config=json.loads(config.read_text()) | change)
    imported = import_weights(dinov2)
    assert imported.about["normalisation"]["mean"][0] == 0.485
    assert not imported.about["provenance"]["told"]
    unused = "preprocessor_config.json was not used: no config.json is beside it that agrees"
    assert sum(note.startswith(unused) for note in imported.notes) == 1


@pytest.mark.parametrize(
    ("architecture", "width", "counts"),
    [
        ("vit_tiny_patch7_dinov2", 32, True),
        ("vit_tiny_patch7_reg4_dinov2", 32, False),
        ("vit_tiny_patch16_224", 32, False),
        ("vit_tiny_patch7_clip_quickgelu_28", 32, False),
        ("vit_base_patch7_dinov2", 768, False),
    ],
)
def test_a_config_of_timm_counts_where_it_names_the_network(dinov2, architecture, width, counts):
    cfg = {"mean": [0.25, 0.5, 0.5], "std": [0.5] * 3}
    config = {"architecture": architecture, "num_features": width, "pretrained_cfg": cfg}
    beside(dinov2, config=config)
    about = import_weights(dinov2).about
    assert about["normalisation"]["mean"][0] == (0.25 if counts else 0.485)
    assert ("config.json" in about["provenance"]["told"]) == counts
