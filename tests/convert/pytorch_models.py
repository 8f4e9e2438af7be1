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
from timm.models.efficientnet import _gen_efficientnet
from timm.models.vision_transformer import Block, VisionTransformer
from timm.models.xception import Block as XceptionBlock
from timm.models.xception import SeparableConv2d, Xception
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
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


class SmallXception(Xception):
    """timm's Xception with fewer channels and blocks, under its names."""

    def __init__(self, width: float, middle_blocks: int, classes: int):
        nn.Module.__init__(self)
        channels = (32, 64, 128, 256, 728, 1024, 1536, 2048)
        w32, w64, w128, w256, w728, w1024, w1536, w2048 = (round(width * n) for n in channels)
        self.drop_rate, self.num_classes, self.num_features = 0.0, classes, w2048
        self.conv1, self.bn1 = nn.Conv2d(3, w32, 3, 2, 0, bias=False), nn.BatchNorm2d(w32)
        self.conv2, self.bn2 = nn.Conv2d(w32, w64, 3, bias=False), nn.BatchNorm2d(w64)
        self.act1, self.act2, self.act3, self.act4 = (nn.ReLU(inplace=True) for _ in range(4))
        self.block1 = XceptionBlock(w64, w128, 2, 2, start_with_relu=False)
        self.block2 = XceptionBlock(w128, w256, 2, 2)
        self.block3 = XceptionBlock(w256, w728, 2, 2)
        for number in range(middle_blocks):
            setattr(self, f"block{number + 4}", XceptionBlock(w728, w728, 3, 1))
        last = XceptionBlock(w728, w1024, 2, 2, grow_first=False)
        setattr(self, f"block{middle_blocks + 4}", last)
        self.conv3, self.bn3 = SeparableConv2d(w1024, w1536, 3, 1, 1), nn.BatchNorm2d(w1536)
        self.conv4, self.bn4 = SeparableConv2d(w1536, w2048, 3, 1, 1), nn.BatchNorm2d(w2048)
        self.fc = nn.Linear(w2048, classes)
        self.middle_blocks = middle_blocks

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))))
        for number in range(1, self.middle_blocks + 5):
            x = getattr(self, f"block{number}")(x)
        return self.act4(self.bn4(self.conv4(self.act3(self.bn3(self.conv3(x))))))


def xception_stages(model: Xception, images: torch.Tensor) -> dict[str, np.ndarray]:
    """What our `Xception.stages` gives, by its names; channels last."""
    blocks = [name for name, _ in model.named_children() if name.startswith("block")]
    ours = ["entry1", "entry2", "entry3"]
    ours += [*(f"middle{number}" for number in range(len(blocks) - 4)), "exit1"]
    modules = {"stem1": model.act1, "stem2": model.act2, "exit2": model.act3, "exit3": model.act4}
    modules |= {name: getattr(model, block) for name, block in zip(ours, blocks, strict=True)}
    return _channels_last(outputs(modules, lambda: model.forward_features(images)))


def timm_efficientnet(width: float, depth: float, classes: int) -> nn.Module:
    """timm's `tf_efficientnet` with these factors of B0's channels and blocks."""
    return _gen_efficientnet(
        "tf_efficientnet_b0",
        channel_multiplier=width,
        depth_multiplier=depth,
        bn_eps=1e-3,
        pad_type="same",
        num_classes=classes,
    ).eval()


def efficientnet_stages(model: nn.Module, images: torch.Tensor) -> dict[str, np.ndarray]:
    """What our `EfficientNet.stages` gives, by its names; channels last."""
    modules = {"stem": model.bn1, "head": model.bn2}
    for stage, blocks in enumerate(model.blocks):
        modules |= {f"stage{stage}_block{n}": block for n, block in enumerate(blocks)}
    return _channels_last(outputs(modules, lambda: model.forward_features(images)))


def _channels_last(stages: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.transpose(0, 2, 3, 1) for name, array in stages.items()}


def dinov2(registers: int, **shape: int) -> nn.Module:
    """transformers' DINOv2, with registers or without."""
    if registers:
        config = Dinov2WithRegistersConfig(**shape, num_register_tokens=registers)
        return Dinov2WithRegistersModel(config).eval()
    return Dinov2Model(Dinov2Config(**shape)).eval()


def clip_vision(**shape: int) -> nn.Module:
    """transformers' vision tower of CLIP."""
    width = shape["hidden_size"]
    return CLIPVisionModel(CLIPVisionConfig(**shape, intermediate_size=4 * width)).eval()


def clip(**shape: int) -> nn.Module:
    """transformers' CLIP with a vision tower of this shape and a tiny text tower."""
    width = shape["hidden_size"]
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "vocab_size": 8, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**shape, "intermediate_size": 4 * width}
    config = CLIPConfig(vision_config=vision, text_config=text, projection_dim=8)
    return CLIPModel(config).eval()


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
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.2 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


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
            found[name] = output.numpy().copy()

        return hook

    hooks = [module.register_forward_hook(record(name)) for name, module in modules.items()]
    with torch.no_grad():
        call()
    for hook in hooks:
        hook.remove()
    return found
