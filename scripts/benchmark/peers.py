"""The same work in PyTorch: transformers' ViTMAE, two ViTs, AdamW. Nobody needs it to be there."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false

import contextlib
import os
from collections.abc import Callable

import numpy as np

from rffr_jax.method.blocks import (
    BlockGrid,
    complement,
    count_distribution,
    count_quantiles,
    sample_blocks,
    sample_masks,
    sample_order,
)
from scripts.benchmark.contestant import Loaded, UnavailableError, Work
from scripts.benchmark.peer_models import (
    Detector,
    block_grid,
    keeping_noise,
    predicted_patches,
    vit_mae,
)
from scripts.benchmark.setup import WARM_UP_STEPS, Setup

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
except ImportError as error:
    raise UnavailableError(f"{error.name or 'PyTorch'} is not installed") from error

ALPHA = 4.0
PROBABILITY, ON_EMPTY, GROUP = 0.25, "redraw", 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# ---- rows


def matrix_product(setup: Setup) -> Loaded:
    """The product of two square matrices."""
    device = device_of(setup)
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
    device = device_of(setup)
    model = vit_mae(setup, device, frozen=False)
    blocks = block_grid(setup)
    losses = _compiled_if(lambda pixels, noise: model(pixels, noise=noise).loss, compiled)
    optimizer = adamw(model.parameters(), betas=(0.9, 0.95), learning_rate=7.5e-5, decay=0.05)
    images = torch.from_numpy(setup.images())

    def step(number: int) -> Tensor:
        hidden = sample_masks("block", blocks, ratio=0, seed=0, step=number, batch=setup.batch)
        noise = keeping_noise(complement(hidden, blocks.patches), blocks.patches)
        with autocast(setup, device):
            loss = losses(pixels_of(images.to(device)), noise.to(device))
        return update(loss, optimizer)

    return training(step, setup)


def compiled_pretraining_step(setup: Setup) -> Loaded:
    """`pretraining_step` under `torch.compile`."""
    return pretraining_step(setup, compiled=True)


def detector_step(setup: Setup, compiled: bool = False) -> Loaded:
    """Blocks drawn, residuals of only these, two ViTs on their patches, gradients, AdamW."""
    device = device_of(setup)
    mae, detector = vit_mae(setup, device), Detector(setup, device)
    blocks = block_grid(setup)
    counts = count_quantiles(
        count_distribution(blocks.count, PROBABILITY, ON_EMPTY), min(GROUP, setup.batch)
    )
    used = np.tile(counts, setup.batch // len(counts))
    lengths = torch.from_numpy(used * blocks.side**2).to(device)
    rows = np.repeat(np.arange(setup.batch), used)
    slots = np.concatenate([np.arange(count) for count in used])
    noises = keeping_noise(blocks.visible, blocks.patches)
    images, labels = torch.from_numpy(setup.images()), torch.from_numpy(setup.labels())
    predict = _compiled_if(lambda pixels, noise: predicted_patches(mae, pixels, noise), compiled)
    classify = _compiled_if(detector, compiled)

    def step(number: int) -> Tensor:
        order = sample_order(len(counts), 0, number, setup.batch)
        chosen = sample_blocks(blocks.count, max(counts), 0, number, setup.batch)
        block = chosen[rows, slots]
        pixels = pixels_of(images[order].to(device))
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
        with autocast(setup, device):
            normalised = _taken(mae.patchify(_normalised(pixels)), indices)
            logits = classify(normalised, residuals, indices, lengths)
        loss = F.cross_entropy(logits.float(), labels[order].long().to(device))
        return update(loss, optimizer)

    optimizer = adamw(detector.parameters(), betas=(0.9, 0.999), learning_rate=2e-5, decay=0)
    return training(step, setup)


def compiled_detector_step(setup: Setup) -> Loaded:
    """`detector_step` under `torch.compile`."""
    return detector_step(setup, compiled=True)


def evaluation(setup: Setup) -> Loaded:
    """Scores of a set in memory, its residuals computed (block after block) every time."""
    device = device_of(setup)
    mae, detector = vit_mae(setup, device), Detector(setup, device)
    blocks = block_grid(setup)
    indices = torch.from_numpy(blocks.hidden.reshape(-1)).long().to(device)
    indices = indices.expand(setup.batch, -1)
    images = torch.from_numpy(setup.images())

    @torch.no_grad()
    def run() -> Tensor:
        pixels = pixels_of(images.to(device))
        residuals = _taken(mae.patchify(_looped(mae, blocks, pixels)), indices)
        with autocast(setup, device):
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
    device = device_of(setup)
    mae, blocks = vit_mae(setup, device), block_grid(setup)
    images = torch.from_numpy(setup.images()).to(device)
    mae.forward = _compiled_if(mae.forward, compiled)

    @torch.no_grad()
    def run() -> Tensor:
        return inpaint(mae, blocks, pixels_of(images)).permute(0, 2, 3, 1)

    return lambda: _work(run, setup.batch, compared=True)


def _looped(mae: nn.Module, blocks: BlockGrid, pixels: Tensor) -> Tensor:
    """[batch, 3, size, size]: the residual of every block, hidden in turn in all images."""
    original = mae.patchify(pixels)
    inpainted = original.clone()
    noises = keeping_noise(blocks.visible, blocks.patches)
    for hidden, noise in zip(blocks.hidden, noises, strict=True):
        noise = noise.to(pixels.device).expand(len(pixels), -1)
        inpainted[:, hidden] = predicted_patches(mae, pixels, noise)[:, hidden]
    return mae.unpatchify(_amplified(inpainted, original))


def _batched(mae: nn.Module, blocks: BlockGrid, pixels: Tensor) -> Tensor:
    """[batch, 3, size, size]: the residual of all blocks, from one batch of blocks x images."""
    original = mae.patchify(pixels)
    inpainted = original.clone()
    noise = keeping_noise(blocks.visible, blocks.patches).to(pixels.device)
    predicted = predicted_patches(
        mae, pixels.repeat_interleave(blocks.count, dim=0), noise.repeat(len(pixels), 1)
    )
    predicted = predicted.unflatten(0, (len(pixels), blocks.count))
    for block, hidden in enumerate(blocks.hidden):
        inpainted[:, hidden] = predicted[:, block, hidden]
    return mae.unpatchify(_amplified(inpainted, original))


def _amplified(inpainted: Tensor, original: Tensor) -> Tensor:
    return (ALPHA * (inpainted - original)).clamp(-1, 1)


def _taken(patches: Tensor, indices: Tensor) -> Tensor:
    return patches.gather(1, indices[:, :, None].expand(-1, -1, patches.shape[-1]))


# ---- parts


def device_of(setup: Setup) -> torch.device:
    """The accelerator if there is one; threads and precision are set as for the other side."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    tf32 = setup.dtype == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pixels_of(images: Tensor) -> Tensor:
    """uint8 [batch, size, size, 3] as [batch, 3, size, size] in [0, 1]."""
    return images.permute(0, 3, 1, 2).float() / 255


def _normalised(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (MEAN, STD))
    return (pixels - mean) / std


def autocast(setup: Setup, device: torch.device) -> contextlib.AbstractContextManager:
    """bfloat16 where the row asks for it."""
    on = setup.dtype == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=on)


def adamw(parameters, *, betas: tuple[float, float], learning_rate: float, decay: float):
    """Decay only for the matrices of linear layers; fused where PyTorch can."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim in (2, 4)], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim not in (2, 4)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)


def update(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """A step of the optimizer; the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _compiled_if(function: Callable, compiled: bool) -> Callable:
    return torch.compile(function) if compiled else function


def training(step: Callable[[int], Tensor], setup: Setup, compared: bool = True) -> Loaded:
    """Calls of a step that takes its number and returns its loss."""

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
        output = np.array(losses) if compared else None
        return Work(run, setup.batch, output=output, memory=_device_memory())

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
