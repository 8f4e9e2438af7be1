"""A training step of the rivals in PyTorch: timm's networks, and UIA-ViT on a plain ViT.

Both sides have random weights of their own, so no losses are compared.
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false

import numpy as np

from rffr_jax.models.sizes import ModelSettings
from rffr_jax.rivals.uia_vit import CONSTANTS, central_patches
from scripts.benchmark.contestant import Loaded, UnavailableError
from scripts.benchmark.peers import adamw, autocast, device_of, pixels_of, training, update
from scripts.benchmark.rival_shapes import QUICK_SIZE, rival_setup, rival_shapes
from scripts.benchmark.setup import Setup

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
except ImportError as error:
    raise UnavailableError(f"{error.name or 'PyTorch'} is not installed") from error

from scripts.benchmark.peer_models import EPSILON, Block, stand_in_for_torchvision
from scripts.benchmark.peer_recce import Recce, batch_losses

PROGRESS = 0.5


def xception_step(setup: Setup) -> Loaded:
    """timm's Xception, cross-entropy, Adam."""
    setup, device = rival_setup(setup, "xception"), device_of(setup)
    model = _timm(setup, "legacy_xception", device)
    optimizer = adamw(model.parameters(), betas=(0.9, 0.999), learning_rate=2e-4, decay=0)
    images, labels = _data(setup)

    def step(number: int) -> Tensor:
        with autocast(setup, device):
            logits = model(2 * pixels_of(images.to(device)) - 1)
        return update(F.cross_entropy(logits.float(), labels.to(device)), optimizer)

    return training(step, setup, compared=False)


def sbi_step(setup: Setup) -> Loaded:
    """timm's EfficientNet-B4 with dropped blocks and features, SAM on SGD."""
    setup, device = rival_setup(setup, "sbi"), device_of(setup)
    model = _timm(setup, "tf_efficientnet_b4", device, drop_rate=0.4, drop_path_rate=0.2)
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
    images, labels = _data(setup)

    def gradients() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with autocast(setup, device):
            logits = model(pixels_of(images.to(device)))
        loss = F.cross_entropy(logits.float(), labels.to(device))
        loss.backward()
        return loss.detach()

    def step(number: int) -> Tensor:
        loss = gradients()
        slopes = [parameter.grad.clone() for parameter in parameters]
        reach = 0.05 / (torch.linalg.vector_norm(torch.stack([g.norm() for g in slopes])) + 1e-12)
        with torch.no_grad():
            torch._foreach_add_(parameters, [reach * slope for slope in slopes])
        gradients()
        with torch.no_grad():
            torch._foreach_sub_(parameters, [reach * slope for slope in slopes])
        optimizer.step()
        return loss

    return training(step, setup, compared=False)


def recce_step(setup: Setup) -> Loaded:
    """RECCE on timm's Xception, its three losses, Adam."""
    setup, device = rival_setup(setup, "recce"), device_of(setup)
    backbone = _timm(setup, "legacy_xception", device)
    backbone.fc = nn.Identity()
    model = Recce(backbone, 1.0, 8, random=True).to(device).train()
    optimizer = adamw(model.parameters(), betas=(0.9, 0.999), learning_rate=2e-4, decay=0)
    images, labels = _data(setup)

    def step(number: int) -> Tensor:
        pixels, wanted = 2 * pixels_of(images.to(device)) - 1, labels.to(device)
        with autocast(setup, device):
            found = model(pixels)
        return update(batch_losses(found, pixels, wanted), optimizer)

    return training(step, setup, compared=False)


def uia_vit_step(setup: Setup) -> Loaded:
    """A plain ViT whose late blocks give their attention, the losses of UIA-ViT, Adam."""
    shapes = rival_shapes(setup, "uia_vit")
    setup, device = rival_setup(setup, "uia_vit"), device_of(setup)
    model = _UIAViT(ModelSettings(shapes["size"], setup.image_size, shapes["patch_size"]))
    model = model.to(device)
    optimizer = adamw(model.parameters(), betas=(0.9, 0.999), learning_rate=3e-5, decay=0)
    images, labels = _data(setup)

    def step(number: int) -> Tensor:
        with autocast(setup, device):
            loss = model.loss(2 * pixels_of(images.to(device)) - 1, labels.to(device))
        return update(loss, optimizer)

    return training(step, setup, compared=False)


class _UIAViT(nn.Module):
    """With two given Gaussians, and the sums that the next ones are fitted to."""

    def __init__(self, settings: ModelSettings):
        super().__init__()
        size, patches = settings.shape, settings.grid**2
        self.middle, self.late = size.depth // 2, 7 * size.depth // 12
        patch = settings.patch_size
        self.embedding = nn.Conv2d(3, size.width, patch, patch)
        self.first = nn.Parameter(torch.zeros(1, 1, size.width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + patches, size.width))
        self.blocks = nn.ModuleList(Block(size.width, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, EPSILON)
        self.head = nn.Linear(2 * size.width, 2)
        self.constants = nn.Parameter(torch.tensor(CONSTANTS))
        self.register_buffer("central", torch.from_numpy(central_patches(settings.grid)))
        self.register_buffer("means", 0.01 * torch.randn(2, size.width))
        self.register_buffer("whitenings", torch.eye(size.width).repeat(2, 1, 1))
        self.register_buffer("outers", torch.zeros(2, size.width, size.width))

    def loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        x = self.embedding(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], dim=1) + self.positions
        products = []
        for number, block in enumerate(self.blocks):
            if number == self.middle:
                features = F.layer_norm(x[:, 1:].detach().float(), x.shape[-1:], eps=EPSILON)
            if number < self.late:
                x = block(x, None)
            else:
                x, product = _with_attention(block, x)
                products.append(product)
        attention = torch.stack(products).mean(dim=(0, 2)).float()
        x = self.norm(x).float()
        looks_fake = self._looks_fake(features, labels)
        even = 1 / (1 + np.exp(12 * (PROGRESS - 0.7)))
        weights = even + (1 - even) * torch.sigmoid(attention[:, 0, 1:])
        assembled = (weights[..., None] * x[:, 1:]).mean(dim=1)
        logits = self.head(torch.cat([x[:, 0], assembled], dim=-1)).float()
        between, in_fake, in_real = self.constants
        fake = looks_fake & (labels == 1)[:, None]
        inside = torch.where(fake[:, :, None], in_fake, in_real)
        wanted = torch.where(fake[:, :, None] == fake[:, None, :], inside, between)
        distance = (torch.sigmoid(attention[:, 1:, 1:]) - wanted).abs().mean()
        apart = 0.5 * between.abs() + 0.05 / in_fake.abs() + 0.05 / in_real.abs()
        return F.cross_entropy(logits, labels) + 0.06 * 2 * distance + apart

    @torch.no_grad()
    def _looks_fake(self, features: Tensor, labels: Tensor) -> Tensor:
        """And adds to the sums."""
        distances = []
        for label in (0, 1):
            own = features[labels == label]
            own = own[:, self.central] if label else own
            flat = own.flatten(0, 1) - self.means[label]
            self.outers[label] += flat.T @ flat
            distances.append(
                ((features - self.means[label]) @ self.whitenings[label].T).norm(dim=-1)
            )
        return distances[0] > distances[1]


def _with_attention(block: Block, x: Tensor) -> tuple[Tensor, Tensor]:
    """The block, and its scaled products of queries and keys [batch, heads, tokens, tokens]."""
    qkv = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, block.heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    products = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    attended = products.softmax(dim=-1) @ value
    x = x + block.attn.proj(attended.transpose(1, 2).flatten(2))
    return x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x)))), products


def _timm(setup: Setup, name: str, device: torch.device, **settings) -> nn.Module:
    if setup.size == QUICK_SIZE:
        raise UnavailableError(f"timm's {name} has one size only")
    stand_in_for_torchvision()
    try:
        import timm
    except ImportError as error:
        raise UnavailableError(f"timm cannot be imported: {error}") from error
    return timm.create_model(name, num_classes=2, **settings).to(device).train()


def _data(setup: Setup) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(setup.images()), torch.from_numpy(setup.labels()).long()
