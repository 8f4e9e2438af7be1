"""Models of PyTorch to compare with: random weights, nothing downloaded."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from rffr_jax.method.blocks import BlockGrid
from rffr_jax.models.sizes import ModelSettings
from tests.models import reference

try:
    import torchvision  # noqa: F401  # timm imports it
except RuntimeError:
    # A build without the operators of this PyTorch; no ViT calls them, but they must exist.
    OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from transformers import (
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

EPSILON = 1e-6


class MaskedAutoencoder(nn.Module):
    """A MAE whose arrays are called as in facebookresearch's `MaskedAutoencoderViT`."""

    def __init__(self, settings: ModelSettings):
        super().__init__()
        size, patch = settings.shape, settings.patch_size
        width, tokens = size.decoder_width, 1 + settings.grid**2
        self.patch_embed = PatchEmbed(settings.image_size, patch, 3, size.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, size.width))
        self.blocks = _blocks(size.width, size.depth, size.heads)
        self.norm = nn.LayerNorm(size.width, EPSILON)
        self.decoder_embed = nn.Linear(size.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, tokens, width))
        self.decoder_blocks = _blocks(width, size.decoder_depth, size.decoder_heads)
        self.decoder_norm = nn.LayerNorm(width, EPSILON)
        self.decoder_pred = nn.Linear(width, 3 * patch**2)

    def forward(self, images: torch.Tensor, visible: np.ndarray) -> torch.Tensor:
        """All patches as predicted from the visible ones, [batch, patches, pixels]."""
        seen = (self.patch_embed(images) + self.pos_embed[:, 1:])[:, visible]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(images), -1, -1)
        encoded = self.norm(self.blocks(torch.cat([first, seen], dim=1)))
        embedded = self.decoder_embed(encoded)
        x = self.mask_token.repeat(len(images), self.decoder_pos_embed.shape[1], 1)
        x[:, np.concatenate([[0], 1 + visible])] = embedded
        x = self.decoder_norm(self.decoder_blocks(x + self.decoder_pos_embed))
        return self.decoder_pred(x)[:, 1:]


def _blocks(width: int, depth: int, heads: int) -> nn.Sequential:
    def norm(width: int, **_) -> nn.LayerNorm:
        return nn.LayerNorm(width, EPSILON)

    return nn.Sequential(
        *(Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth))
    )


def timm_vit(settings: ModelSettings, classes: int = 0) -> VisionTransformer:
    size = settings.shape
    return VisionTransformer(
        settings.image_size,
        settings.patch_size,
        num_classes=classes,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
    ).eval()


def facebook_mae(settings: ModelSettings) -> MaskedAutoencoder:
    model = MaskedAutoencoder(settings).eval()
    _fix_positions(model.pos_embed, settings)
    _fix_positions(model.decoder_pos_embed, settings)
    return model


def huggingface_classifier(settings: ModelSettings, classes: int) -> ViTForImageClassification:
    config = ViTConfig(**_huggingface_shape(settings), num_labels=classes)
    return ViTForImageClassification(config).eval()


def huggingface_vit(settings: ModelSettings) -> ViTModel:
    return ViTModel(ViTConfig(**_huggingface_shape(settings)), add_pooling_layer=False).eval()


def huggingface_mae(settings: ModelSettings) -> ViTMAEForPreTraining:
    """transformers 5 leaves the fixed positions of a fresh model zero; here they are set."""
    size = settings.shape
    config = ViTMAEConfig(
        **_huggingface_shape(settings),
        decoder_hidden_size=size.decoder_width,
        decoder_num_hidden_layers=size.decoder_depth,
        decoder_num_attention_heads=size.decoder_heads,
        decoder_intermediate_size=4 * size.decoder_width,
    )
    model = ViTMAEForPreTraining(config).eval()
    _fix_positions(model.vit.embeddings.position_embeddings, settings)
    _fix_positions(model.decoder.decoder_pos_embed, settings)
    return model


def _huggingface_shape(settings: ModelSettings) -> dict[str, float]:
    size = settings.shape
    return {
        "hidden_size": size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.width,
        "image_size": settings.image_size,
        "patch_size": settings.patch_size,
        "layer_norm_eps": EPSILON,
    }


def _fix_positions(positions: nn.Parameter, settings: ModelSettings):
    fixed = reference.sincos(settings.grid, positions.shape[-1])
    positions.data[0, 1:] = torch.from_numpy(fixed)
    positions.requires_grad_(False)


def spread_weights(model: nn.Module, seed: int):
    """Random values everywhere but in fixed positions, so that no bias or norm is trivially 0 or 1
    and no matrix makes what it multiplies much larger or smaller."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim in (2, 4):
            parameter.data = noise / parameter[0].numel() ** 0.5
        elif parameter.ndim == 1 and name.endswith("weight"):
            parameter.data = 1 + 0.1 * noise
        else:
            parameter.data = 0.2 * noise


def google_arrays(model: VisionTransformer) -> dict[str, np.ndarray]:
    """timm's ViT in the names and shapes of google-research/vision_transformer's `.npz` files."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    width, heads = model.embed_dim, model.blocks[0].attn.num_heads

    def norm(name: str) -> dict[str, np.ndarray]:
        return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}

    def dense(name: str) -> dict[str, np.ndarray]:
        return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}

    parts = {
        "": {"cls": state["cls_token"]},
        "embedding/": {
            "kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
            "bias": state["patch_embed.proj.bias"],
        },
        "Transformer/posembed_input/": {"pos_embedding": state["pos_embed"]},
        "Transformer/encoder_norm/": norm("norm"),
        "head/": dense("head"),
    }
    for index in range(len(model.blocks)):
        there, here = f"Transformer/encoderblock_{index}", f"blocks.{index}"
        attention = f"{there}/MultiHeadDotProductAttention_1"
        qkv = dense(f"{here}.attn.qkv")
        for part, name in enumerate(("query", "key", "value")):
            chosen = slice(part * width, (part + 1) * width)
            parts[f"{attention}/{name}/"] = {
                "kernel": qkv["kernel"][:, chosen].reshape(width, heads, -1),
                "bias": qkv["bias"][chosen].reshape(heads, -1),
            }
        out = dense(f"{here}.attn.proj")
        out["kernel"] = out["kernel"].reshape(heads, -1, width)
        parts[f"{attention}/out/"] = out
        parts[f"{there}/LayerNorm_0/"] = norm(f"{here}.norm1")
        parts[f"{there}/LayerNorm_2/"] = norm(f"{here}.norm2")
        parts[f"{there}/MlpBlock_3/Dense_0/"] = dense(f"{here}.mlp.fc1")
        parts[f"{there}/MlpBlock_3/Dense_1/"] = dense(f"{here}.mlp.fc2")
    return {
        part + name: np.ascontiguousarray(array)
        for part, arrays in parts.items()
        for name, array in arrays.items()
    }


@torch.no_grad()
def predict(model: nn.Module, images: torch.Tensor, visible: np.ndarray) -> torch.Tensor:
    """All patches as a MAE predicts them from the visible ones, [batch, patches, pixels]."""
    if isinstance(model, MaskedAutoencoder):
        return model(images, visible)
    patches = model.vit.embeddings.position_embeddings.shape[1] - 1
    noise = torch.arange(patches).repeat(len(images), 1) + patches
    noise[:, visible] -= patches  # it keeps the patches of the smallest noise, in that order
    # A quarter of a patch more, as the number that it keeps is rounded down.
    model.config.mask_ratio = 1 - (len(visible) + 0.25) / patches
    return model(images, noise=noise).logits


def normalised(images: np.ndarray, mean: tuple, std: tuple) -> torch.Tensor:
    """[batch, size, size, 3] in [0, 1] as PyTorch's networks read them."""
    pixels = (np.asarray(images, np.float64) - mean) / std
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())


def pixels_of(predicted: torch.Tensor, mean: tuple, std: tuple) -> np.ndarray:
    """A MAE's prediction of normalised pixels as pixels in [0, 1], in its order."""
    colours = predicted.shape[-1] // 3
    return predicted.numpy() * np.tile(std, colours) + np.tile(mean, colours)


def looped_inpainting(
    model: nn.Module, blocks: BlockGrid, images: np.ndarray, mean: tuple, std: tuple
) -> np.ndarray:
    """Every block hidden in turn; the original pixels where no block reaches."""
    patch = images.shape[1] // blocks.grid
    inpainted = images.astype(np.float64)
    for hidden, visible in zip(blocks.hidden, blocks.visible, strict=True):
        predicted = predict(model, normalised(images, mean, std), visible)
        pixels = pixels_of(predicted, mean, std)
        for place in hidden:
            row, column = patch * (place // blocks.grid), patch * (place % blocks.grid)
            square = pixels[:, place].reshape(-1, patch, patch, 3)
            inpainted[:, row : row + patch, column : column + patch] = square
    return inpainted


def outputs(modules: Mapping[str, nn.Module], call: Callable[[], object]) -> dict[str, np.ndarray]:
    """What the modules give while `call` runs."""
    found = {}

    def record(name: str) -> Callable:
        def hook(module, inputs, output):
            found[name] = output.numpy()

        return hook

    hooks = [module.register_forward_hook(record(name)) for name, module in modules.items()]
    with torch.no_grad():
        call()
    for hook in hooks:
        hook.remove()
    return found
