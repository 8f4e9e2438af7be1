"""The same work in PyTorch: transformers' ViTMAE, two ViTs, AdamW. Nobody needs it to be there.

The MAE is `ViTMAEForPreTraining` as it comes: which patches it keeps is told through its `noise`.
The detector's ViTs are written here in plain PyTorch, because transformers' read whole images.
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false

import contextlib
import os
from collections.abc import Callable

import numpy as np

from rffr_jax.benchmark.contestant import Loaded, UnavailableError, Work
from rffr_jax.benchmark.setup import WARM_UP_STEPS, Setup
from rffr_jax.method.blocks import (
    BlockGrid,
    complement,
    count_distribution,
    count_quantiles,
    draw_blocks,
    draw_masks,
    draw_order,
)
from rffr_jax.models.sizes import ModelSettings

try:
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file
    from torch import Tensor, nn
except ImportError as error:
    raise UnavailableError(f"{error.name or 'PyTorch'} is not installed") from error

EPSILON = 1e-6
ALPHA = 4.0
PROBABILITY, ON_EMPTY, GROUP = 0.25, "redraw", 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# ---- rows


def matrix_product(setup: Setup) -> Loaded:
    """The product of two square matrices."""
    device = _device(setup)
    dtype = torch.bfloat16 if setup.dtype == "bfloat16" else torch.float32
    shape = (setup.matrix, setup.matrix)
    one, two = (torch.randn(shape, device=device, dtype=dtype) for _ in range(2))
    return lambda: _work(lambda: one @ two, images=0)


def looped_residual(setup: Setup) -> Loaded:
    """Residual images, one block of the whole batch after another, as the RFFR authors do."""
    return _residual(setup, _looped)


def batched_residual(setup: Setup) -> Loaded:
    """Residual images, all blocks of all images as one batch."""
    return _residual(setup, _batched)


def compiled_residual(setup: Setup) -> Loaded:
    """`batched_residual` under `torch.compile`."""
    return _residual(setup, _batched, compiled=True)


def pretraining_step(setup: Setup, compiled: bool = False) -> Loaded:
    """Masks drawn, batch sent, gradients, AdamW: transformers' ViTMAE and its own loss."""
    device = _device(setup)
    model = _mae(setup, device, frozen=False)
    blocks = _blocks(setup)
    losses = _compiled_if(lambda pixels, noise: model(pixels, noise=noise).loss, compiled)
    optimizer = _adamw(model.parameters(), betas=(0.9, 0.95), learning_rate=7.5e-5, decay=0.05)
    images = torch.from_numpy(setup.images())

    def step(number: int) -> Tensor:
        hidden = draw_masks("block", blocks, ratio=0, seed=0, step=number, batch=setup.batch)
        noise = _noise(complement(hidden, blocks.patches), blocks.patches)
        with _autocast(setup, device):
            loss = losses(_pixels(images.to(device)), noise.to(device))
        return _update(loss, optimizer)

    return _training(step, setup)


def compiled_pretraining_step(setup: Setup) -> Loaded:
    """`pretraining_step` under `torch.compile`."""
    return pretraining_step(setup, compiled=True)


def detector_step(setup: Setup, compiled: bool = False) -> Loaded:
    """Blocks drawn, residuals of these alone, two ViTs on their patches, gradients, AdamW."""
    device = _device(setup)
    mae, detector = _mae(setup, device), Detector(setup, device)
    blocks = _blocks(setup)
    counts = count_quantiles(
        count_distribution(blocks.count, PROBABILITY, ON_EMPTY), min(GROUP, setup.batch)
    )
    used = np.tile(counts, setup.batch // len(counts))
    lengths = torch.from_numpy(used * blocks.side**2).to(device)
    rows = np.repeat(np.arange(setup.batch), used)
    slots = np.concatenate([np.arange(count) for count in used])
    noises = _noise(blocks.visible, blocks.patches)
    images, labels = torch.from_numpy(setup.images()), torch.from_numpy(setup.labels())
    predict = _compiled_if(lambda pixels, noise: _predicted(mae, pixels, noise), compiled)
    classify = _compiled_if(detector, compiled)

    def step(number: int) -> Tensor:
        order = draw_order(len(counts), 0, number, setup.batch)
        chosen = draw_blocks(blocks.count, max(counts), 0, number, setup.batch)
        block = chosen[rows, slots]
        pixels = _pixels(images[order].to(device))
        hidden = torch.from_numpy(blocks.hidden[block]).long().to(device)
        with torch.no_grad():
            predicted = predict(pixels[rows], noises[block].to(device))
        indices = torch.from_numpy(blocks.hidden[chosen].reshape(setup.batch, -1)).long()
        indices = indices.to(device)
        original = mae.patchify(pixels)
        inpainted = torch.zeros(
            (setup.batch, max(counts), blocks.side**2, original.shape[-1]), device=device
        )
        inpainted[rows, slots] = _taken(predicted, hidden)
        residuals = _amplified(inpainted.flatten(1, 2), _taken(original, indices))
        with _autocast(setup, device):
            normalised = _taken(mae.patchify(_normalised(pixels)), indices)
            logits = classify(normalised, residuals, indices, lengths)
        loss = F.cross_entropy(logits.float(), labels[order].long().to(device))
        return _update(loss, optimizer)

    optimizer = _adamw(detector.parameters(), betas=(0.9, 0.999), learning_rate=2e-5, decay=0)
    return _training(step, setup)


def compiled_detector_step(setup: Setup) -> Loaded:
    """`detector_step` under `torch.compile`."""
    return detector_step(setup, compiled=True)


def evaluation(setup: Setup) -> Loaded:
    """Scores of a set in memory, its residuals computed (block after block) every time."""
    device = _device(setup)
    mae, detector = _mae(setup, device), Detector(setup, device)
    blocks = _blocks(setup)
    indices = torch.from_numpy(blocks.hidden.reshape(-1)).long().to(device)
    indices = indices.expand(setup.batch, -1)
    images = torch.from_numpy(setup.images())

    @torch.no_grad()
    def run() -> Tensor:
        pixels = _pixels(images.to(device))
        residuals = _taken(mae.patchify(_looped(mae, blocks, pixels)), indices)
        with _autocast(setup, device):
            normalised = _taken(mae.patchify(_normalised(pixels)), indices)
            logits = detector(normalised, residuals, indices, None).float()
        return torch.softmax(logits, dim=-1)[:, 1]

    return lambda: _work(run, setup.batch, compared=True)


def file_reading(setup: Setup) -> Loaded:
    """JPEG files through Pillow and a `DataLoader` without workers, as float tensors."""
    from PIL import Image

    paths = sorted((setup.folder / "one_by_one").glob("*.jpg"))
    if not paths:
        raise UnavailableError("the records of the other side are missing")

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> Tensor:
            pixels = np.asarray(Image.open(paths[index]).convert("RGB"))
            return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255

    loader = torch.utils.data.DataLoader(Files(), batch_size=len(paths), shuffle=True)
    return lambda: _work(lambda: next(iter(loader)), len(paths))


# ---- residuals


def _residual(setup: Setup, inpaint: Callable, compiled: bool = False) -> Loaded:
    device = _device(setup)
    mae, blocks = _mae(setup, device), _blocks(setup)
    images = torch.from_numpy(setup.images()).to(device)
    mae.forward = _compiled_if(mae.forward, compiled)

    @torch.no_grad()
    def run() -> Tensor:
        return inpaint(mae, blocks, _pixels(images)).permute(0, 2, 3, 1)

    return lambda: _work(run, setup.batch, compared=True)


def _looped(mae: nn.Module, blocks: BlockGrid, pixels: Tensor) -> Tensor:
    """[batch, 3, size, size]: the residual of every block, hidden in turn in all images."""
    original = mae.patchify(pixels)
    inpainted = original.clone()
    for hidden, noise in zip(blocks.hidden, _noise(blocks.visible, blocks.patches), strict=True):
        noise = noise.to(pixels.device).expand(len(pixels), -1)
        inpainted[:, hidden] = _predicted(mae, pixels, noise)[:, hidden]
    return mae.unpatchify(_amplified(inpainted, original))


def _batched(mae: nn.Module, blocks: BlockGrid, pixels: Tensor) -> Tensor:
    """[batch, 3, size, size]: the residual of all blocks, from one batch of blocks x images."""
    original = mae.patchify(pixels)
    inpainted = original.clone()
    noise = _noise(blocks.visible, blocks.patches).to(pixels.device)
    predicted = _predicted(
        mae, pixels.repeat_interleave(blocks.count, dim=0), noise.repeat(len(pixels), 1)
    )
    predicted = predicted.unflatten(0, (len(pixels), blocks.count))
    for block, hidden in enumerate(blocks.hidden):
        inpainted[:, hidden] = predicted[:, block, hidden]
    return mae.unpatchify(_amplified(inpainted, original))


def _predicted(mae: nn.Module, pixels: Tensor, noise: Tensor) -> Tensor:
    """All patches as the MAE predicts them, float32."""
    return mae(pixels.to(mae.dtype), noise=noise).logits.float()


def _noise(visible: np.ndarray, patches: int) -> Tensor:
    """What makes transformers' ViTMAE keep these patches: it keeps those of the smallest noise."""
    noise = np.tile(np.arange(patches, dtype=np.float32) + patches, (len(visible), 1))
    np.put_along_axis(noise, visible, visible.astype(np.float32), axis=1)
    return torch.from_numpy(noise)


def _amplified(inpainted: Tensor, original: Tensor) -> Tensor:
    return (ALPHA * (inpainted - original)).clamp(-1, 1)


def _taken(patches: Tensor, indices: Tensor) -> Tensor:
    return patches.gather(1, indices[:, :, None].expand(-1, -1, patches.shape[-1]))


# ---- models


def _mae(setup: Setup, device: torch.device, frozen: bool = True) -> nn.Module:
    """transformers' ViTMAE with the weights that `ours.shared_files` wrote."""
    config_class, model_class = _transformers()
    size, grid = ModelSettings(setup.size, setup.image_size, setup.patch_size).shape, _blocks(setup)
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
    _stand_in_for_torchvision()
    try:
        from transformers import ViTMAEConfig, ViTMAEForPreTraining
    except ImportError as error:
        raise UnavailableError(f"transformers cannot be imported: {error}") from error
    return ViTMAEConfig, ViTMAEForPreTraining


def _stand_in_for_torchvision():
    """Lets transformers import a torchvision that was built for another PyTorch."""
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


# ---- parts


def _blocks(setup: Setup) -> BlockGrid:
    return BlockGrid(setup.image_size // setup.patch_size, setup.k)


def _device(setup: Setup) -> torch.device:
    """The accelerator if there is one; threads and precision are set as for the other side."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    tf32 = setup.dtype == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _pixels(images: Tensor) -> Tensor:
    """uint8 [batch, size, size, 3] as [batch, 3, size, size] in [0, 1]."""
    return images.permute(0, 3, 1, 2).float() / 255


def _normalised(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (MEAN, STD))
    return (pixels - mean) / std


def _autocast(setup: Setup, device: torch.device) -> contextlib.AbstractContextManager:
    on = setup.dtype == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=on)


def _adamw(parameters, *, betas: tuple[float, float], learning_rate: float, decay: float):
    """Decay for the matrices of linear layers alone; fused where PyTorch can."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim in (2, 4)], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim not in (2, 4)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)


def _update(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _compiled_if(function: Callable, compiled: bool) -> Callable:
    return torch.compile(function) if compiled else function


def _training(step: Callable[[int], Tensor], setup: Setup) -> Loaded:
    def start() -> Work:
        done = 0

        def run(times: int) -> Tensor:
            nonlocal done
            for _ in range(times):
                loss = step(done)
                done += 1
            _wait()
            return loss

        losses = [float(run(1)) for _ in range(WARM_UP_STEPS)]
        return Work(run, setup.batch, output=np.array(losses), memory=_device_memory())

    return start


def _work(call: Callable[[], Tensor], images: int, compared: bool = False) -> Work:
    def run(times: int) -> Tensor:
        for _ in range(times):
            output = call()
        _wait()
        return output

    output = run(1)
    return Work(
        run, images, output=output.float().cpu().numpy() if compared else None,
        memory=_device_memory(),
    )  # fmt: skip


def _wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _device_memory() -> Callable[[], tuple[int, int]] | None:
    if not torch.cuda.is_available():
        return None
    torch.cuda.reset_peak_memory_stats()
    return lambda: (torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated())
