"""Makes the fixtures: small random models of PyTorch and what they compute, stage by stage.

    python -m tests.convert.make_fixtures

Needs the extra `parity`. Stages are computed in float64 and kept in float32.
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false

import json
import pathlib

import numpy as np
import safetensors.torch
import torch
from torch import nn

from rffr_jax.convert.backbones import EFFICIENTNETS
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.models.sizes import ModelSettings
from tests.convert import pytorch_models as models
from tests.rivals.pytorch_uia_vit import UIAViT

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
SETTINGS = ModelSettings("tiny", image_size=56, patch_size=4)
BLOCKS = BlockGrid(grid=14, k=4)
HIDDEN_BLOCK = 6
CLASSES = 5
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def main():
    images = np.random.default_rng(0).random((2, 56, 56, 3)).astype(np.float32)
    networks = ("timm", "google", "hf", "mae", "hf_mae", "xception", "efficientnet", "uia_vit")
    for name in networks:
        (FIXTURES / name).mkdir(parents=True, exist_ok=True)
    np.savez(FIXTURES / "inputs.npz", images=images, hidden_block=HIDDEN_BLOCK)
    _timm(images)
    _google(images)
    _huggingface(images)
    _facebook_mae(images)
    _huggingface_mae(images)
    _xception(images)
    _efficientnet(images)
    _uia_vit(images)
    _vision_transformers()


def _timm(images: np.ndarray):
    vit = models.timm_vit(SETTINGS, CLASSES)
    models.spread_weights(vit, seed=1)
    safetensors.torch.save_file(vit.state_dict(), FIXTURES / "timm" / "model.safetensors")
    _save("timm", _timm_stages(vit, images))


def _google(images: np.ndarray):
    """The numbers come from a model that timm's own reader of these files has filled."""
    source = models.timm_vit(SETTINGS, CLASSES)
    models.spread_weights(source, seed=2)
    file = FIXTURES / "google" / "model.npz"
    np.savez(file, **models.google_arrays(source))
    vit = models.timm_vit(SETTINGS, CLASSES)
    vit.load_pretrained(str(file))
    _save("google", _timm_stages(vit, images))


def _timm_stages(vit: models.VisionTransformer, images: np.ndarray) -> dict[str, np.ndarray]:
    vit.double()
    modules = {"embedding": vit.norm_pre, "first_block": vit.blocks[0], "encoder": vit.norm}
    return models.outputs(modules, lambda: vit(models.normalised(images, *HALF)))


def _huggingface(images: np.ndarray):
    classifier = models.huggingface_classifier(SETTINGS, CLASSES)
    models.spread_weights(classifier, seed=3)
    folder = FIXTURES / "hf"
    classifier.save_pretrained(folder)
    safetensors.torch.save_file(classifier.state_dict(), folder / "in_memory.safetensors")
    _write_preprocessor(folder)
    vit = classifier.double().vit
    modules = {"embedding": vit.embeddings, "first_block": vit.layers[0], "encoder": vit.layernorm}
    pixels = models.normalised(images, *IMAGENET)
    _save("hf", models.outputs(modules, lambda: classifier(pixels)))


def _facebook_mae(images: np.ndarray):
    mae = models.facebook_mae(SETTINGS)
    models.spread_weights(mae, seed=4)
    safetensors.torch.save_file(mae.state_dict(), FIXTURES / "mae" / "model.safetensors")
    modules = {"embedding": mae.patch_embed, "first_block": mae.blocks[0], "encoder": mae.norm}
    modules |= {"decoder": mae.decoder_norm, "prediction": mae.decoder_pred}
    _save("mae", _mae_stages(mae.double(), modules, mae.pos_embed, images))


def _huggingface_mae(images: np.ndarray):
    mae = models.huggingface_mae(SETTINGS)
    models.spread_weights(mae, seed=5)
    mae.save_pretrained(FIXTURES / "hf_mae")
    _write_preprocessor(FIXTURES / "hf_mae")
    embeddings = mae.vit.embeddings
    modules = {
        "embedding": embeddings.patch_embeddings,
        "first_block": mae.vit.layers[0],
        "encoder": mae.vit.layernorm,
        "decoder": mae.decoder.decoder_norm,
        "prediction": mae.decoder.decoder_pred,
    }
    _save("hf_mae", _mae_stages(mae.double(), modules, embeddings.position_embeddings, images))


def _xception(images: np.ndarray):
    xception = models.SmallXception(1 / 16, 1, CLASSES).eval()
    models.spread_weights(xception, seed=6)
    file = FIXTURES / "xception" / "model.safetensors"
    safetensors.torch.save_file(xception.state_dict(), file)
    pixels = models.normalised(images, *HALF)
    _save("xception", models.xception_stages(xception.double(), pixels))


def _efficientnet(images: np.ndarray):
    efficientnet = models.timm_efficientnet(*EFFICIENTNETS["tiny"], CLASSES)
    models.spread_weights(efficientnet, seed=7)
    file = FIXTURES / "efficientnet" / "tf_efficientnet_tiny_ap.safetensors"
    safetensors.torch.save_file(efficientnet.state_dict(), file)
    pixels = models.normalised(images, *HALF)
    _save("efficientnet", models.efficientnet_stages(efficientnet.double(), pixels))


def _uia_vit(images: np.ndarray):
    """One image on the ViT of the fixture `timm`; the head's weights are with the numbers."""
    vit = models.timm_vit(SETTINGS)
    weights = safetensors.torch.load_file(FIXTURES / "timm" / "model.safetensors")
    vit.load_state_dict(weights, strict=False)
    model = UIAViT(vit, middle=1, late=(2,)).eval()
    models.spread_weights(model.head, seed=8)
    kernel, bias = (parameter.detach().numpy() for parameter in model.head.parameters())
    stages = {"head_kernel": kernel.T, "head_bias": bias}
    model.double()
    for progress in (0.0, 0.5, 1.0):
        with torch.no_grad():
            found = model(models.normalised(images[:1], *HALF), progress)
        stages |= {name: array.numpy() for name, array in found.items()}
        stages[f"logits_{progress}"] = stages.pop("logits")
    _save("uia_vit", stages)


def _vision_transformers():
    """DINOv2 in the names of transformers, with registers in those of timm, and whole CLIP."""
    images = np.random.default_rng(1).random((2, 28, 28, 3)).astype(np.float32)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"image_size": 28, "patch_size": 7}
    folder = FIXTURES / "vision"
    folder.mkdir(exist_ok=True)
    dinov2, clip = models.dinov2(0, **shape), models.clip(**shape)
    timm = models.VisionTransformer(
        28, 7, num_classes=0, embed_dim=32, depth=2, num_heads=2, init_values=1.0, reg_tokens=2,
        no_embed_class=True,
    ).eval()  # fmt: skip
    features = {"images": images}
    for seed, (name, model) in enumerate({"dinov2": dinov2, "clip": clip, "timm": timm}.items(), 8):
        models.spread_weights(model, seed)
        if name == "timm":
            (folder / name).mkdir(exist_ok=True)
            file = folder / name / "model.safetensors"
            safetensors.torch.save_file(model.state_dict(), file)
        else:
            model.save_pretrained(folder / name, max_shard_size="30KB" if name == "clip" else "1GB")
        pixels = models.normalised(images, *(CLIP if name == "clip" else IMAGENET))
        tower = clip.vision_model if name == "clip" else model
        with torch.no_grad():
            found = tower.double()(pixels)
        features[name] = (found if name == "timm" else found.pooler_output).numpy()
    single = {name: array.astype(np.float32) for name, array in features.items()}
    np.savez(folder / "features.npz", **single)


def _mae_stages(
    mae: nn.Module, modules: dict[str, nn.Module], positions: torch.Tensor, images: np.ndarray
) -> dict[str, np.ndarray]:
    """Of one hidden block; `inpainted` and `residual` of all blocks, one after another."""
    hidden, visible = BLOCKS.hidden[HIDDEN_BLOCK], BLOCKS.visible[HIDDEN_BLOCK]
    normalised = models.normalised(images, *IMAGENET)
    stages = models.outputs(modules, lambda: models.predict(mae, normalised, visible))
    inpainted = models.looped_inpainting(mae, BLOCKS, images, *IMAGENET)
    predicted = torch.from_numpy(stages["prediction"][:, 1:][:, hidden])
    return stages | {
        "embedding": stages["embedding"] + positions[:, 1:].detach().numpy(),
        "decoder": stages["decoder"][:, 1:][:, hidden],
        "prediction": models.pixels_of(predicted, *IMAGENET),
        "inpainted": inpainted,
        "residual": np.clip(4 * (inpainted - images), -1, 1),
    }


def _write_preprocessor(folder: pathlib.Path):
    mean, std = IMAGENET
    text = json.dumps({"image_mean": mean, "image_std": std}, indent=2)
    (folder / "preprocessor_config.json").write_text(text + "\n")


def _save(name: str, stages: dict[str, np.ndarray]):
    single = {stage: array.astype(np.float32) for stage, array in stages.items()}
    np.savez(FIXTURES / name / "stages.npz", **single)


if __name__ == "__main__":
    main()
