"""The models of PyTorch's side: transformers' ViTMAE, and two ViTs on chosen patches.

The MAE is `ViTMAEForPreTraining` as it comes: which patches it keeps is told through its `noise`.
The detector's ViTs are written here in plain PyTorch, because transformers' read whole images.
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false

import numpy as np

from rffr_jax.method.blocks import BlockGrid
from rffr_jax.models.sizes import ModelSettings
from scripts.benchmark.contestant import UnavailableError
from scripts.benchmark.setup import Setup

try:
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file
    from torch import Tensor, nn
except ImportError as error:
    raise UnavailableError(f"{error.name or 'PyTorch'} is not installed") from error

EPSILON = 1e-6


def vit_mae(setup: Setup, device: torch.device, frozen: bool = True) -> nn.Module:
    """transformers' ViTMAE with the weights that `ours.shared_files` wrote."""
    config_class, model_class = _transformers()
    size = ModelSettings(setup.size, setup.image_size, setup.patch_size).shape
    grid = block_grid(setup)
    kept = grid.patches - grid.side**2
    config = config_class(
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        decoder_hidden_size=size.decoder_width,
        decoder_num_hidden_layers=size.decoder_depth,
        decoder_num_attention_heads=size.decoder_heads,
        decoder_intermediate_size=4 * size.decoder_width,
        image_size=setup.image_size,
        patch_size=setup.patch_size,
        layer_norm_eps=EPSILON,
        mask_ratio=1 - (kept + 0.25) / grid.patches,  # the number that it keeps is rounded down
    )
    model = model_class(config)
    model.load_state_dict(load_file(setup.folder / "mae.safetensors"))
    model = model.to(device)
    if not frozen:
        return model.train()
    return model.to(torch.bfloat16 if setup.dtype == "bfloat16" else torch.float32).eval()


def _transformers() -> tuple[type, type]:
    stand_in_for_torchvision()
    try:
        from transformers import ViTMAEConfig, ViTMAEForPreTraining
    except ImportError as error:
        raise UnavailableError(f"transformers cannot be imported: {error}") from error
    return ViTMAEConfig, ViTMAEForPreTraining


def stand_in_for_torchvision():
    """Lets transformers and timm import a torchvision that was built for another PyTorch."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        global _OPERATORS
        _OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")


class Detector(nn.Module):
    """Two ViTs on chosen patches, their class tokens side by side, and one linear layer."""

    def __init__(self, setup: Setup, device: torch.device):
        super().__init__()
        self.original, self.residual = (
            ViT(setup, load_file(setup.folder / f"{name}.safetensors"))
            for name in ("original", "residual")
        )
        head = load_file(setup.folder / "head.safetensors")
        self.head = nn.Linear(*head["kernel"].shape)
        self.head.load_state_dict({"weight": head["kernel"].T, "bias": head["bias"]})
        self.to(device)

    def forward(
        self, original: Tensor, residual: Tensor, indices: Tensor, lengths: Tensor | None
    ) -> Tensor:
        features = [
            branch(patches, indices, lengths)
            for branch, patches in ((self.original, original), (self.residual, residual))
        ]
        return self.head(torch.cat(features, dim=-1))


class ViT(nn.Module):
    """Arrays are called as in timm."""

    def __init__(self, setup: Setup, arrays: dict[str, Tensor]):
        super().__init__()
        settings = ModelSettings(setup.size, setup.image_size, setup.patch_size)
        size = settings.shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + settings.grid**2, size.width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Linear(3 * setup.patch_size**2, size.width)
        self.blocks = nn.ModuleList(Block(size.width, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, EPSILON)
        name = "patch_embed.proj.weight"  # in transformers' order of a patch: row, column, channel
        self.load_state_dict({**arrays, name: arrays[name].permute(0, 2, 3, 1).flatten(1)})

    def forward(self, patches: Tensor, indices: Tensor, lengths: Tensor | None) -> Tensor:
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        seen = self.patch_embed.proj(patches) + self.pos_embed[0, 1:][indices]
        x = torch.cat([first, seen], dim=1)
        mask = None
        if lengths is not None:
            mask = torch.arange(x.shape[1], device=x.device) <= lengths[:, None]
            mask = mask[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x[:, 0])


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        qkv = self.attn.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.attn.proj(attended.transpose(1, 2).flatten(2))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


def predicted_patches(mae: nn.Module, pixels: Tensor, noise: Tensor) -> Tensor:
    """All patches as the MAE predicts them, float32."""
    return mae(pixels.to(mae.dtype), noise=noise).logits.float()


def keeping_noise(visible: np.ndarray, patches: int) -> Tensor:
    """What makes transformers' ViTMAE keep these patches: it keeps those of the smallest noise."""
    noise = np.tile(np.arange(patches, dtype=np.float32) + patches, (len(visible), 1))
    np.put_along_axis(noise, visible, visible.astype(np.float32), axis=1)
    return torch.from_numpy(noise)


def block_grid(setup: Setup) -> BlockGrid:
    return BlockGrid(setup.image_size // setup.patch_size, setup.k)
