"""A detector of rffr_jax in PyTorch. This file needs torch and safetensors, and no rffr_jax.

    import detector                      # this file, `detector.py`, in the exported folder

    model = detector.load("FOLDER")      # with detector.json and detector.safetensors
    margins = model(images)              # uint8 [batch, size, size, 3] -> float32 [batch]
    scores = margins.double().sigmoid()  # float32 would round high ones to 1

An image is an aligned face crop in RGB; detector.json says of which size, and how the faces of the
training were cut out. A score is in [0, 1]; a higher one means more likely fake.

A masked autoencoder (MAE) reconstructs each hidden block of a face from the rest. The residual is
the amplified difference. One vision transformer reads the image, another the residual, and a linear
layer reads both class tokens (Shi, Zhang and Shan, RFFR, Pattern Recognition 2025).
"""
# pyright: reportMissingImports=false, reportOptionalCall=false

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

EPSILON = 1e-6  # of all norms
SMALLEST_ENERGY = 1e-4  # of a coefficient of a patch's cosine transform


def load(folder: str | pathlib.Path) -> "Detector":
    """The detector of an exported folder, on the CPU, ready to score."""
    folder = pathlib.Path(folder)
    network = json.loads((folder / "detector.json").read_text(encoding="utf-8"))["network"]
    detector = Detector(network)
    detector.load_state_dict(load_file(folder / "detector.safetensors"))
    return detector.eval().requires_grad_(False)


class Detector(nn.Module):
    """Margins of face crops."""

    def __init__(self, network: dict):
        super().__init__()
        self.size, self.patch = network["size"], network["patch_size"]
        self.alpha = network["alpha"]
        self.passes, self.read = network["passes"], network["read_patches"]
        self.register_buffer("mean", torch.tensor(network["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(network["std"]), persistent=False)
        self.mae = MAE(network["mae"]) if network["mae"] else None
        self.branches = nn.ModuleDict({name: ViT(network["vit"]) for name in network["branches"]})
        self.head = nn.Linear(len(self.branches) * network["vit"]["width"], 2)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [batch, size, size, 3] -> margins (logit of fake minus that of real), [batch]."""
        logits = self.logits(images)
        return logits[:, 1] - logits[:, 0]

    def logits(self, images: Tensor) -> Tensor:
        """uint8 [batch, size, size, 3] -> logits of real and fake, [batch, 2]."""
        if images.dtype != torch.uint8 or images.shape[1:] != (self.size, self.size, 3):
            raise ValueError(
                f"images are {images.dtype} {list(images.shape)}; give torch.uint8 "
                f"[batch, {self.size}, {self.size}, 3]"
            )
        pixels = images.float() / 255
        inputs = {"original": patchify((pixels - self.mean) / self.std, self.patch)}
        if self.mae is not None:
            inputs["residual"] = self.residual(pixels)
        tokens = [branch(inputs[name], self.read) for name, branch in self.branches.items()]
        return self.head(torch.cat(tokens, dim=-1))

    def residual(self, pixels: Tensor) -> Tensor:
        """alpha (reconstruction - pixels) in [-1, 1], patch by patch; 0 where nothing is hidden."""
        patches = patchify(pixels, self.patch)
        differences = torch.zeros_like(patches)
        for hidden in self.passes:
            differences[:, hidden] = self.mae(patches, hidden) - patches[:, hidden]
        differences = differences.half().float()  # in this precision rffr_jax keeps them
        return (self.alpha * differences).clamp(-1, 1)


class MAE(nn.Module):
    """Reconstructs hidden patches from the visible ones."""

    def __init__(self, size: dict):
        super().__init__()
        width, inner, pixels = size["width"], size["decoder_width"], size["pixels"]
        self.embedding = nn.Linear(pixels, width)
        self.class_token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(size["patches"], width))
        self.blocks = transformer(size["depth"], width, size["heads"])
        self.norm = nn.LayerNorm(width, EPSILON)
        self.decoder_embed = nn.Linear(width, inner)
        self.mask_token = nn.Parameter(torch.zeros(inner))
        self.decoder_positions = nn.Parameter(torch.zeros(size["patches"], inner))
        self.decoder_blocks = transformer(size["decoder_depth"], inner, size["decoder_heads"])
        self.decoder_norm = nn.LayerNorm(inner, EPSILON)
        self.prediction = nn.Linear(inner, pixels)

    def forward(self, patches: Tensor, hidden: list[int]) -> Tensor:
        """[batch, patches, pixels] in [0, 1] -> the hidden ones, [batch, hidden, pixels]."""
        batch, count = patches.shape[:2]
        visible = [patch for patch in range(count) if patch not in hidden]
        seen = self.embedding(patches[:, visible]) + self.positions[visible]
        seen = torch.cat([self.class_token.expand(batch, 1, -1), seen], dim=1)
        first, seen = self.decoder_embed(self.norm(self.blocks(seen))).split([1, len(visible)], 1)
        unseen = self.mask_token + self.decoder_positions[hidden]
        tokens = [first, seen + self.decoder_positions[visible], unseen.expand(batch, -1, -1)]
        decoded = self.decoder_norm(self.decoder_blocks(torch.cat(tokens, dim=1)))
        return self.prediction(decoded[:, -len(hidden) :])


class ViT(nn.Module):
    """The feature of the class token of a vision transformer over some patches."""

    def __init__(self, size: dict):
        super().__init__()
        width = size["width"]
        self.embedding = nn.Linear(size["pixels"], width)
        parts = {"conv": ConvolutionStem, "logdct": LogDCT}
        self.additions = nn.ModuleDict(
            {name: parts[name](size["pixels"], width) for name in size["additions"]}
        )
        self.class_token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(1 + size["patches"], width))
        self.blocks = transformer(size["depth"], width, size["heads"])
        self.norm = nn.LayerNorm(width, EPSILON)

    def forward(self, patches: Tensor, read: list[int]) -> Tensor:
        """[batch, patches, pixels] -> [batch, width]; patches that are not in `read` do nothing."""
        patches = patches[:, read]
        tokens = self.embedding(patches) + self.positions[1:][read]
        for addition in self.additions.values():
            tokens = tokens + addition(patches)
        first = (self.class_token + self.positions[0]).expand(len(patches), 1, -1)
        return self.norm(self.blocks(torch.cat([first, tokens], dim=1))[:, 0])


class ConvolutionStem(nn.Module):
    """Two convolutions of stride 2 inside each patch, and one linear layer."""

    def __init__(self, pixels: int, width: int):
        super().__init__()
        self.side = math.isqrt(pixels // 3)
        self.first = nn.Conv2d(3, width // 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width // 4, width // 2, 3, stride=2, padding=1)
        self.output = nn.Linear(math.ceil(self.side / 4) ** 2 * (width // 2), width)

    def forward(self, patches: Tensor) -> Tensor:
        """[batch, patches, pixels] -> [batch, patches, width]."""
        x = patches.reshape(-1, self.side, self.side, 3).permute(0, 3, 1, 2)
        x = F.gelu(self.second(F.gelu(self.first(x))))
        return self.output(x.permute(0, 2, 3, 1).reshape(*patches.shape[:2], -1))


class LogDCT(nn.Module):
    """Logarithms of the energies of each patch's cosine transform, and one linear layer."""

    def __init__(self, pixels: int, width: int):
        super().__init__()
        self.side = math.isqrt(pixels // 3)
        self.output = nn.Linear(pixels, width)
        frequencies = torch.arange(self.side, dtype=torch.float64)[:, None]
        places = torch.arange(self.side, dtype=torch.float64) + 0.5
        basis = (2 / self.side) ** 0.5 * torch.cos(math.pi * frequencies * places / self.side)
        basis[0] /= 2**0.5
        self.register_buffer("basis", basis.float(), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """[batch, patches, pixels] -> [batch, patches, width]."""
        squares = patches.reshape(*patches.shape[:2], self.side, self.side, 3)
        coefficients = torch.einsum("ur,bnrcx,vc->bnuvx", self.basis, squares, self.basis)
        energies = torch.log10(1 + coefficients**2 / SMALLEST_ENERGY)
        return self.output(energies.reshape(patches.shape))


class Block(nn.Module):
    """Self-attention, then an MLP four times as wide, each behind a norm."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, EPSILON)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, EPSILON)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same."""
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        x = x + self.proj(attended.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def transformer(depth: int, width: int, heads: int) -> nn.Sequential:
    """`depth` equal blocks one after another."""
    return nn.Sequential(*(Block(width, heads) for _ in range(depth)))


def patchify(images: Tensor, patch: int) -> Tensor:
    """[batch, size, size, 3] -> [batch, patches, patch * patch * 3], row by row."""
    batch, size = images.shape[:2]
    grid = size // patch
    squares = images.reshape(batch, grid, patch, grid, patch, 3).permute(0, 1, 3, 2, 4, 5)
    return squares.reshape(batch, grid * grid, patch * patch * 3)
