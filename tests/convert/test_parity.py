"""ViT-B/16 at full size against live PyTorch: random weights, nothing downloaded."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false

import functools
import gc
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.convert.normalisation import NORMALISATIONS
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.models.abstract import abstract_mae, abstract_vit
from rffr_jax.models.layers import patchify
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.models.transfer import resize_positions
from rffr_jax.runs.checkpoints.weights import (
    load_weights,
    read_about,
)
from scripts import convert_weights

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
models = pytest.importorskip("tests.convert.pytorch_models")

pytestmark = pytest.mark.parity

SETTINGS = ModelSettings("vit_b16", image_size=224, patch_size=16)
SMALL = ModelSettings("tiny", image_size=224, patch_size=16)
BLOCKS = BlockGrid(grid=14, k=4)
HIDDEN_BLOCKS = (0, 9)
CLASSES = 1000
TOLERANCE = 2e-5  # measured: 4e-6 for features of up to 3.8, 1e-6 for inpaintings


@pytest.fixture(autouse=True)
def freed_memory():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory):
    """The files of these tests are gigabytes; pytest keeps what lies in its own folders."""
    folder = tmp_path_factory.mktemp("full_size")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def timm_vit():
    model = models.timm_vit(SETTINGS, CLASSES)
    models.spread_weights(model, seed=0)
    return model


@pytest.fixture(scope="module")
def huggingface_vit():
    model = models.huggingface_vit(SETTINGS)
    models.spread_weights(model, seed=1)
    return model


@pytest.fixture(scope="module")
def facebook_mae():
    model = models.facebook_mae(SETTINGS)
    models.spread_weights(model, seed=2)
    return model


@pytest.fixture(scope="module")
def huggingface_mae():
    model = models.huggingface_mae(SETTINGS)
    models.spread_weights(model, seed=3)
    return model


@pytest.fixture(scope="module")
def converted_vit(module_folder, timm_vit):
    safetensors_torch.save_file(timm_vit.state_dict(), module_folder / "vit.safetensors")
    return convert(module_folder / "vit.safetensors", module_folder / "vit")


@pytest.fixture(scope="module")
def converted_mae(module_folder, facebook_mae):
    torch.save({"model": facebook_mae.state_dict()}, module_folder / "mae_visualize.pth")
    return convert(module_folder / "mae_visualize.pth", module_folder / "mae")


# ---- in


def test_timm_safetensors(converted_vit, timm_vit):
    compare_features(converted_vit, timm_vit, "half")


def test_timm_pth(folder, timm_vit):
    torch.save(timm_vit.state_dict(), folder / "jx_vit_base_p16_224.pth")
    checkpoint = convert(folder / "jx_vit_base_p16_224.pth", folder / "converted")
    compare_features(checkpoint, timm_vit, "half")


def test_timm_pth_of_before_pytorch_wrote_zip_files(folder):
    model = models.timm_vit(SMALL, CLASSES)
    models.spread_weights(model, seed=4)
    held = {**model.state_dict(), "pre_logits.fc.weight": torch.ones(32, 32)}
    torch.save(held, folder / "vit.pth", _use_new_zipfile_serialization=False)
    checkpoint = convert(folder / "vit.pth", folder / "converted")
    left_out = read_about(checkpoint, "detector.init", "vit")["provenance"]["left_out"]
    assert set(left_out) == {"head.weight", "head.bias", "pre_logits.fc.weight"}
    compare_features(checkpoint, model, "half")


def test_deit_pth(folder):
    model = models.timm_vit(SMALL, CLASSES)
    models.spread_weights(model, seed=5)
    torch.save({"model": model.state_dict()}, folder / "deit.pth")
    compare_features(convert(folder / "deit.pth", folder / "converted"), model, "imagenet")


def test_google_npz(folder, timm_vit):
    np.savez(folder / "vit.npz", **models.google_arrays(timm_vit))
    checkpoint = convert(folder / "vit.npz", folder / "converted")
    reader = models.timm_vit(SETTINGS, CLASSES)
    reader.load_pretrained(str(folder / "vit.npz"))
    compare_features(checkpoint, reader, "half")


def test_huggingface_vit(folder, huggingface_vit):
    huggingface_vit.save_pretrained(folder)
    checkpoint = convert(folder / "model.safetensors", folder / "converted")
    compare_features(checkpoint, huggingface_vit, "half")


def test_huggingface_classifier(folder):
    model = models.huggingface_classifier(SMALL, CLASSES)
    models.spread_weights(model, seed=6)
    model.save_pretrained(folder)
    checkpoint = convert(folder / "model.safetensors", folder / "converted")
    compare_features(checkpoint, model.vit, "half")


def test_facebook_mae(converted_mae, facebook_mae):
    compare_inpaintings(converted_mae, facebook_mae, "imagenet")


def test_the_authors_mae(folder, facebook_mae):
    state = {f"module.{name}": array for name, array in facebook_mae.state_dict().items()}
    held = {"epoch": 7, "best_loss": np.float64(0.01), "state_dict": state}
    torch.save(held, folder / "checkpoint.pth.tar")
    checkpoint = convert(folder / "checkpoint.pth.tar", folder / "converted")
    assert read_about(checkpoint, "mae", "mae")["provenance"]["kind"] == "rffr"
    compare_inpaintings(checkpoint, facebook_mae, "none")


def test_huggingface_mae(folder, huggingface_mae):
    huggingface_mae.save_pretrained(folder)
    checkpoint = convert(folder / "model.safetensors", folder / "converted")
    compare_inpaintings(checkpoint, huggingface_mae, "imagenet")


# ---- out


def test_a_vit_goes_out_to_timm(folder, converted_vit, timm_vit):
    model = models.timm_vit(SETTINGS)
    model.load_state_dict(exported(converted_vit, "timm", folder), strict=True)
    for name, array in model.state_dict().items():
        assert torch.equal(timm_vit.state_dict()[name], array), name


def test_a_vit_goes_out_to_transformers(folder, converted_vit):
    model = models.huggingface_vit(SETTINGS)
    model.load_state_dict(exported(converted_vit, "hf", folder), strict=True)
    compare_features(converted_vit, model, "half")


def test_a_vit_goes_out_to_older_transformers(folder, converted_vit):
    exported(converted_vit, "hf4", folder)
    model = from_pretrained(models.huggingface_vit(SETTINGS), folder)
    compare_features(converted_vit, model, "half")


def test_a_mae_goes_out_to_facebooks(folder, converted_mae):
    model = models.facebook_mae(SETTINGS)
    model.load_state_dict(exported(converted_mae, "mae", folder), strict=True)
    compare_inpaintings(converted_mae, model, "none")


def test_a_mae_goes_out_to_transformers(folder, converted_mae):
    model = models.huggingface_mae(SETTINGS)
    model.load_state_dict(exported(converted_mae, "hf", folder), strict=True)
    compare_inpaintings(converted_mae, model, "none")


def test_a_mae_goes_out_to_older_transformers(folder, converted_mae):
    exported(converted_mae, "hf4", folder)
    model = from_pretrained(models.huggingface_mae(SETTINGS), folder)
    compare_inpaintings(converted_mae, model, "none")


def test_the_encoder_of_a_mae_goes_out_to_timm(folder, converted_mae):
    model = models.timm_vit(SETTINGS)
    model.load_state_dict(exported(converted_mae, "timm", folder), strict=True)
    definition, parameters = loaded(converted_mae)
    everything = np.arange(BLOCKS.patches)
    encoded = encode(definition, parameters, image(), everything)[:, 0]
    assert_close(encoded, pytorch_features(model, "none"))


# ---- other grids


@pytest.mark.parametrize("grid", [7, 10, 16, 24])
def test_positions_are_resized_as_timm_does(grid):
    from timm.layers.pos_embed import resample_abs_pos_embed

    positions = np.random.default_rng(grid).standard_normal((197, 32)).astype(np.float32)
    expected = resample_abs_pos_embed(torch.from_numpy(positions)[None], [grid, grid])[0]
    resized = resize_positions(jnp.asarray(positions), grid)
    np.testing.assert_allclose(resized, expected.numpy(), rtol=0, atol=5e-6)


# ---- as a user does it


def convert(file: pathlib.Path, output: pathlib.Path) -> pathlib.Path:
    assert convert_weights.main(["--input", str(file), "--output", str(output)]) == 0
    return output


def exported(checkpoint: pathlib.Path, kind: str, folder: pathlib.Path) -> dict[str, Any]:
    file = str(folder / "model.safetensors")
    flags = ["--input", str(checkpoint), "--export", file, "--kind", kind]
    assert convert_weights.main(flags) == 0
    return safetensors_torch.load_file(file)


def from_pretrained(model: Any, folder: pathlib.Path) -> Any:
    """A model like this one, read from the folder that holds its arrays."""
    model.config.save_pretrained(folder)
    extra = {} if hasattr(model, "decoder") else {"add_pooling_layer": False}
    found, info = type(model).from_pretrained(folder, output_loading_info=True, **extra)
    assert not any(info.values()), info
    return found.eval()


def loaded(checkpoint: pathlib.Path) -> tuple[nnx.GraphDef, Any]:
    about = read_about(checkpoint, "init", "vit", "mae")
    abstract = {"vit": abstract_vit, "mae": abstract_mae}[about["kind"]]
    definition, shapes = abstract(ModelSettings(**about["model"]))
    return definition, load_weights(checkpoint, "init", shapes, make_mesh(1))


# ---- the two sides


def image() -> np.ndarray:
    return np.random.default_rng(0).random((1, 224, 224, 3)).astype(np.float32)


def compare_features(checkpoint: pathlib.Path, model: Any, normalisation: str):
    definition, parameters = loaded(checkpoint)
    about = read_about(checkpoint, "detector.init", "vit")["normalisation"]
    pixels = (image() - np.array(about["mean"])) / np.array(about["std"])
    found = feature(definition, parameters, pixels.astype(np.float32))
    assert_close(found, pytorch_features(model, normalisation))


def pytorch_features(model: Any, normalisation: str) -> np.ndarray:
    trained = NORMALISATIONS[normalisation]
    pixels = models.normalised(image(), trained.mean, trained.std).float()
    with torch.no_grad():
        if isinstance(model, models.VisionTransformer):
            return model.forward_features(pixels)[:, 0].numpy()
        return model(pixels).last_hidden_state[:, 0].numpy()


def compare_inpaintings(checkpoint: pathlib.Path, model: Any, normalisation: str):
    definition, parameters = loaded(checkpoint)
    trained = NORMALISATIONS[normalisation]
    pixels = models.normalised(image(), trained.mean, trained.std).float()
    for block in HIDDEN_BLOCKS:
        hidden, visible = BLOCKS.hidden[block], BLOCKS.visible[block]
        found = inpaint(definition, parameters, image(), visible, hidden)
        predicted = models.predict(model, pixels, visible)[:, hidden]
        assert_close(found, models.pixels_of(predicted, trained.mean, trained.std))


def assert_close(found: jax.Array, expected: np.ndarray):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@functools.partial(jax.jit, static_argnums=0)
def feature(definition, parameters, pixels):
    vit = nnx.merge(definition, nnx.State(parameters))
    return vit(patchify(pixels, SETTINGS.patch_size), jnp.arange(BLOCKS.patches))


@functools.partial(jax.jit, static_argnums=0)
def encode(definition, parameters, pixels, visible):
    mae = nnx.merge(definition, nnx.State(parameters))
    return mae.encode(mae.embed(pixels), visible)


@functools.partial(jax.jit, static_argnums=0)
def inpaint(definition, parameters, pixels, visible, hidden):
    return nnx.merge(definition, nnx.State(parameters))(pixels, visible, hidden)
