"""DINOv2, CLIP and ViT-L/16 at full size against transformers and timm: random weights."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.convert.importing import import_weights
from rffr_jax.models.abstract import abstract
from rffr_jax.models.backbone import Backbone
from rffr_jax.models.sizes import BackboneSettings, ModelSettings
from rffr_jax.models.transfer import resize_positions

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
models = pytest.importorskip("tests.convert.pytorch_models")

pytestmark = pytest.mark.parity

TOLERANCE = 2e-5  # of the largest feature


def shape(width: int, depth: int, patch: int, image: int) -> dict[str, int]:
    sizes = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": width // 64}
    return sizes | {"patch_size": patch, "image_size": image}


def timm_model(name: str, **changes):
    import timm

    return timm.create_model(name, pretrained=False, **changes).eval()


CASES = {
    "dinov2-s": lambda: models.dinov2(0, **shape(384, 12, 14, 518)),
    "dinov2-b": lambda: models.dinov2(0, **shape(768, 12, 14, 224)),
    "dinov2-b-registers": lambda: models.dinov2(4, **shape(768, 12, 14, 224)),
    "dinov2-l": lambda: models.dinov2(0, **shape(1024, 24, 14, 224)),
    "timm-dinov2-s-registers": lambda: timm_model("vit_small_patch14_reg4_dinov2", img_size=224),
    "clip-b": lambda: models.clip_vision(**shape(768, 12, 16, 224)),
    "clip-l": lambda: models.clip_vision(**shape(1024, 24, 14, 224)),
    "timm-clip-b": lambda: timm_model("vit_base_patch16_clip_quickgelu_224", num_classes=0),
    "vit-l": lambda: timm_model("vit_large_patch16_224", num_classes=0),
}


def features(model: Any, images: np.ndarray) -> np.ndarray:
    """The class token behind the last norm, computed in float32."""
    with torch.no_grad():
        found = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    return (found if isinstance(found, torch.Tensor) else found.pooler_output).numpy()


def ours(imported, images: np.ndarray) -> np.ndarray:
    about = imported.about
    if about["kind"] == "backbone":
        settings = BackboneSettings(**about["model"])
    else:
        model = ModelSettings(**about["model"])
        size = model.shape
        settings = BackboneSettings(
            size.width, size.depth, size.heads, model.image_size, model.patch_size
        )
    settings = dataclasses.replace(settings, image_size=images.shape[1])
    parameters = imported.parameters
    positions = resize_positions(parameters["positions"], settings.grid)
    definition, _ = abstract(lambda rngs: Backbone(settings, dtype=jnp.float32, rngs=rngs))

    @jax.jit
    def run(parameters, images):
        return nnx.merge(definition, nnx.State(parameters))(images)

    return np.asarray(run({**parameters, "positions": positions}, jnp.asarray(images)))


def converted(model: Any, folder):
    file = folder / "model.safetensors"
    safetensors_torch.save_file(model.state_dict(), file)
    imported = import_weights(file)
    file.unlink()
    return imported


@pytest.mark.parametrize("name", CASES)
def test_features_are_those_of_pytorch(name, tmp_path):
    model = CASES[name]()
    models.spread_weights(model, seed=1)
    imported = converted(model, tmp_path)
    settings = imported.about["model"]
    images = np.random.default_rng(0).uniform(-1, 1, (1, *[settings["image_size"]] * 2, 3))
    images = images.astype(np.float32)
    expected = features(model, images)
    found = ours(imported, images)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"{name}: {error:.1e} of the largest feature")
    assert error <= TOLERANCE


def test_positions_are_interpolated_as_timm_does(tmp_path):
    """Of DINOv2 at 518 px, for images of 224 px."""
    model = timm_model("vit_small_patch14_dinov2", dynamic_img_size=True)
    models.spread_weights(model, seed=1)
    imported = converted(model, tmp_path)
    assert imported.about["model"]["image_size"] == 518
    images = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    expected = features(model, images)
    error = np.abs(ours(imported, images) - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCE
