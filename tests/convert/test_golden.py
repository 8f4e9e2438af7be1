"""Converted weights compute what PyTorch computed with them, stage by stage.

`make_fixtures.py` made the models and the numbers.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from jaxtyping import PyTree

from rffr_jax.convert.backbones import BACKBONES
from rffr_jax.convert.importing import ImportedWeights, ImportOptions, import_weights
from rffr_jax.convert.normalisation import NORMALISATIONS
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.residual import residual_image
from rffr_jax.models.abstract import abstract, abstract_mae, abstract_vit
from rffr_jax.models.layers import Block, Transformer, patchify
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import BackboneSettings, ModelSettings
from rffr_jax.models.vit import ViT

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
TOLERANCE = 2e-5
BLOCKS = BlockGrid(grid=14, k=4)


@pytest.mark.parametrize(
    ("file", "kind", "trained", "left_out"),
    [
        ("timm/model.safetensors", "timm", "half", {"head.weight", "head.bias"}),
        ("google/model.npz", "google", "half", {"head/kernel", "head/bias"}),
        ("hf/model.safetensors", "hf", "imagenet", {"classifier.weight", "classifier.bias"}),
        ("hf/in_memory.safetensors", "hf", "imagenet", {"classifier.weight", "classifier.bias"}),
    ],
)
def test_vit(file, kind, trained, left_out):
    imported = import_weights(FIXTURES / file)
    about = imported.about
    assert about["kind"] == "vit"
    assert about["provenance"]["kind"] == kind
    assert set(about["provenance"]["left_out"]) == left_out
    assert all(name in " ".join(imported.notes) for name in left_out)
    normalisation = NORMALISATIONS[trained]
    assert about["normalisation"] == {"mean": normalisation.mean, "std": normalisation.std}

    pixels = (images() - np.array(normalisation.mean)) / np.array(normalisation.std)
    expected = dict(np.load((FIXTURES / file).with_name("stages.npz")))
    expected["feature"] = expected["encoder"][:, 0]
    compare(run(abstract_vit, vit_stages, imported, pixels), expected)


@pytest.mark.parametrize(
    ("file", "kind"), [("mae/model.safetensors", "mae"), ("hf_mae/model.safetensors", "hf")]
)
def test_mae(file, kind):
    """PyTorch's network read normalised pixels; ours reads and predicts pixels in [0, 1]."""
    imported = import_weights(FIXTURES / file)
    assert imported.about["kind"] == "mae"
    assert imported.about["provenance"]["kind"] == kind
    assert imported.about["normalised_targets"] is False
    expected = dict(np.load((FIXTURES / file).with_name("stages.npz")))
    compare(run(abstract_mae, mae_stages, imported, images()), expected)


@pytest.mark.parametrize(
    ("file", "kind", "model", "classifier"),
    [
        ("xception/model.safetensors", "xception", {"width": 1 / 16, "middle_blocks": 1}, "fc"),
        (
            "efficientnet/tf_efficientnet_tiny_ap.safetensors",
            "efficientnet",
            {"width": 0.05, "depth": 0.3},
            "classifier",
        ),
    ],
)
def test_backbone(file, kind, model, classifier):
    imported = import_weights(FIXTURES / file)
    about = imported.about
    assert (about["kind"], about["network"], about["model"]) == ("backbone", kind, model)
    assert about["normalisation"] == {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    left_out = {f"{classifier}.weight", f"{classifier}.bias"}
    assert set(about["provenance"]["left_out"]) == left_out
    settings = BACKBONES[kind].infer(safetensors.numpy.load_file(FIXTURES / file), FIXTURES)
    definition, _ = abstract(lambda rngs: BACKBONES[kind].build(settings, rngs))

    @jax.jit
    def run(parameters: PyTree, pixels: jax.Array) -> dict[str, jax.Array]:
        model: Any = nnx.merge(definition, nnx.State(parameters))
        return model.stages(pixels, training=False)

    computed = run(imported.parameters, jnp.asarray(2 * images() - 1, jnp.float32))
    compare(computed, dict(np.load((FIXTURES / file).with_name("stages.npz"))))


@pytest.mark.parametrize(
    ("name", "flags", "model"),
    [
        ("dinov2", {}, {"layer_scale": True, "registers": 0}),
        ("timm", {"heads": 2}, {"layer_scale": True, "registers": 2}),
        ("clip", {}, {"norm_before": True, "activation": "quick_gelu", "epsilon": 1e-5}),
    ],
)
def test_vision_transformers(name, flags, model):
    """Of transformers (`clip` in shards, with its text tower) and of timm (with registers)."""
    expected = np.load(FIXTURES / "vision" / "features.npz")
    imported = import_weights(FIXTURES / "vision" / name, ImportOptions(**flags))
    about = imported.about
    assert (about["kind"], about["network"]) == ("backbone", "clip" if name == "clip" else "dinov2")
    assert model.items() <= about["model"].items()
    settings = BackboneSettings(**about["model"])
    definition, _ = abstract(lambda rngs: BACKBONES[about["network"]].build(settings, rngs))
    mean, std = about["normalisation"]["mean"], about["normalisation"]["std"]
    assert mean[0] == (0.48145466 if name == "clip" else 0.485)
    pixels = jnp.asarray((expected["images"] - mean) / std, jnp.float32)
    found = nnx.merge(definition, nnx.State(imported.parameters))(pixels)  # pyright: ignore[reportCallIssue]
    np.testing.assert_allclose(found, expected[name], rtol=0, atol=TOLERANCE)


def test_positions_that_are_all_zero_are_named_and_replaced(tmp_path):
    source = FIXTURES / "hf_mae" / "model.safetensors"
    arrays = safetensors.numpy.load_file(source)
    arrays["vit.embeddings.position_embeddings"][:] = 0
    safetensors.numpy.save_file(arrays, tmp_path / "fresh.safetensors")
    expected = import_weights(source)
    assert not any("all zero" in note for note in expected.notes)
    imported = import_weights(tmp_path / "fresh.safetensors")
    assert [note for note in imported.notes if "WARNING: its positions are all zero" in note]
    jax.tree.map(np.testing.assert_array_equal, imported.parameters, expected.parameters)


def images() -> np.ndarray:
    return np.load(FIXTURES / "inputs.npz")["images"]


def run(
    abstract: Callable, stages: Callable, imported: ImportedWeights, pixels: np.ndarray
) -> dict[str, jax.Array]:
    """What the stages of the converted model give, under one `jax.jit`."""
    definition, _ = abstract(ModelSettings(**imported.about["model"]))

    @jax.jit
    def run(parameters: PyTree, pixels: jax.Array) -> dict[str, jax.Array]:
        return stages(nnx.merge(definition, nnx.State(parameters)), pixels)

    return run(imported.parameters, jnp.asarray(pixels, jnp.float32))


def vit_stages(vit: ViT, pixels: jax.Array) -> dict[str, jax.Array]:
    patches = patchify(pixels, 4)
    first = jnp.broadcast_to(vit.class_token[...], (len(pixels), 1, 32))
    tokens = jnp.concatenate([first, vit.embedding(patches)], axis=1) + vit.positions[...]
    return {
        "embedding": tokens,
        "first_block": first_block(vit.transformer)(tokens),
        "encoder": vit.norm(vit.transformer(tokens)),
        "feature": vit(patches, jnp.arange(BLOCKS.patches)),
    }


def mae_stages(mae: MAE, pixels: jax.Array) -> dict[str, jax.Array]:
    block = int(np.load(FIXTURES / "inputs.npz")["hidden_block"])
    visible, hidden = jnp.asarray(BLOCKS.visible[block]), jnp.asarray(BLOCKS.hidden[block])
    tokens = mae.embed(pixels)
    first = jnp.broadcast_to(mae.class_token[...], (len(pixels), 1, 32))
    encoded = mae.encode(tokens, visible)
    inpainted, residual = residual_image(mae, BLOCKS, pixels)
    found = {
        "embedding": tokens,
        "first_block": first_block(mae.encoder)(
            jnp.concatenate([first, tokens[:, visible]], axis=1)
        ),
        "encoder": encoded,
        "prediction": mae.decode(encoded, visible, hidden),
        "inpainted": inpainted,
        "residual": residual,
    }
    mae.prediction = lambda decoded: decoded  # pyright: ignore[reportAttributeAccessIssue]
    return found | {"decoder": mae.decode(encoded, visible, hidden)}


def first_block(transformer: Transformer) -> Block:
    definition, layers = nnx.split(transformer.blocks)
    return nnx.merge(definition, jax.tree.map(lambda layer: layer[0], layers))


def compare(computed: dict[str, jax.Array], expected: Mapping[str, np.ndarray]):
    assert computed.keys() == expected.keys()
    for stage, array in expected.items():
        np.testing.assert_allclose(computed[stage], array, rtol=0, atol=TOLERANCE, err_msg=stage)
