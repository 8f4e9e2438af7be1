"""RECCE in PyTorch, written from its description, on timm's Xception; random weights.

Names and shapes are also those of the reference that the tests compare with.
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from scripts.benchmark.contestant import UnavailableError

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
except ImportError as error:
    raise UnavailableError(f"{error.name or 'PyTorch'} is not installed") from error

CHANNELS = (728, 256, 128, 64)
FLOOD, NOISE = 0.04, 1e-6


class Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pointwise(self.depthwise(x)))


class Three(nn.Module):
    """x + f(relu(f(relu(f(relu(x))))))."""

    def __init__(self, channels: int):
        super().__init__()
        self.convolutions = nn.ModuleDict(
            {f"convolution{n}": Separable(channels, channels) for n in range(3)}
        )

    def forward(self, x: Tensor) -> Tensor:
        found = x
        for convolution in self.convolutions.values():
            found = convolution(found.relu())
        return x + found


class Decoder(nn.Module):
    def __init__(self, code: int, coarse: int, fine: int, last: int):
        super().__init__()
        self.doubled1, self.coarse = Separable(code, coarse), Three(coarse)
        self.doubled2, self.fine = Separable(coarse, fine), Three(fine)
        self.doubled3, self.image = Separable(fine, last), nn.Conv2d(last, 3, 1, bias=False)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def doubled(x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=2, mode="nearest")

        coarse = self.coarse(self.doubled1(doubled(code)).relu())
        fine = self.fine(self.doubled2(doubled(coarse)).relu())
        return coarse, fine, self.image(self.doubled3(doubled(fine)).relu()).tanh()


def two_layers(inputs: int, between: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, between, bias=False), nn.ReLU(), nn.Linear(between, outputs, bias=False)
    )


class Gathering(nn.Module):
    """What every place gathers of its neighbours in one map of the decoder."""

    def __init__(self, code: int, given: int, wanted: int):
        super().__init__()
        self.embedding = two_layers(given, wanted, wanted)
        self.of_place = nn.Linear(wanted, 1, bias=False)
        self.of_neighbour = nn.Linear(wanted, 1, bias=False)
        self.gate = nn.Linear(code, wanted, bias=False)

    def forward(self, places: Tensor, own: Tensor, neighbours: Tensor) -> Tensor:
        """Of [..., code], [..., wanted], [..., neighbours, given]: [..., wanted]."""
        there = self.embedding(neighbours)
        logits = self.of_place(own)[..., None, :] + self.of_neighbour(there)
        weights = logits.relu().softmax(dim=-2)
        return (weights * there).sum(dim=-2) * (1 - self.gate(places).sigmoid())


class Reasoning(nn.Module):
    gathering = Gathering

    def __init__(self, code: int, coarse: int, fine: int):
        super().__init__()
        self.own = two_layers(code, coarse, coarse)
        self.from_coarse = self.gathering(code, coarse, coarse)
        self.from_fine = self.gathering(code, fine, coarse)
        self.back = two_layers(3 * coarse, code, code)

    def forward(self, encoded: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
        """What is to be added to `encoded`."""
        places = encoded.permute(0, 2, 3, 1)
        own = self.own(places)
        gathered = [
            self.from_coarse(places, own, _windows(coarse, 2)),
            self.from_fine(places, own, _windows(fine, 4)),
        ]
        joined = torch.cat([*gathered, own], dim=-1).sigmoid()
        return self.back(joined).permute(0, 3, 1, 2)


def _windows(maps: Tensor, side: int) -> Tensor:
    """[batch, channels, height*side, width*side] as [batch, height, width, side*side, channels]."""
    parts = maps.unflatten(2, (-1, side)).unflatten(4, (-1, side))
    return parts.permute(0, 2, 4, 3, 5, 1).flatten(3, 4)


class Attention(nn.Module):
    def __init__(self, code: int):
        super().__init__()
        self.blurred = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.map = nn.Conv2d(3, 1, 1, bias=False)
        self.features = nn.Conv2d(code, code, 1, bias=False)
        self.norm = nn.BatchNorm2d(code)

    def forward(self, difference: Tensor, encoded: Tensor) -> Tensor:
        small = F.interpolate(
            difference, size=encoded.shape[2:], mode="bilinear", align_corners=True
        )
        where = self.map(self.blurred(small).relu()).sigmoid()
        return where * self.norm(self.features(encoded)).relu()


class Recce(nn.Module):
    """The whole network.

    Args:
      backbone: timm's Xception, or a small one, with `middle_blocks` blocks in its middle flow.
      random: whether training adds noise and drops features.
    """

    def __init__(self, backbone: nn.Module, width: float, middle_blocks: int, *, random: bool):
        super().__init__()
        code, coarse, fine, last = (max(1, round(width * n)) for n in CHANNELS)
        self.backbone, self.middle_blocks, self.random = backbone, middle_blocks, random
        self.decoder = Decoder(code, coarse, fine, last)
        self.reasoning, self.attention = Reasoning(code, coarse, fine), Attention(code)
        self.head = nn.Linear(backbone.num_features, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        net, half = self.backbone, self.middle_blocks // 2
        x = net.act2(net.bn2(net.conv2(net.act1(net.bn1(net.conv1(self._noisy(images)))))))
        for number in (1, 2, 3, 4):
            x = getattr(net, f"block{number}")(x)
        found = {"code": x}
        found["coarse"], found["fine"], image = self.decoder(self._dropped(x))
        found["reconstruction"] = F.interpolate(
            image, size=images.shape[2:], mode="bilinear", align_corners=True
        )
        for number in range(5, 4 + half):
            x = getattr(net, f"block{number}")(x)
        added = self.reasoning(x, found["coarse"], found["fine"])
        found["reasoned"] = x = x + self._dropped(added)
        x = getattr(net, f"block{4 + half}")(x)
        added = self.attention((images - found["reconstruction"]).abs(), x)
        found["attended"] = x = added + self._dropped(x)
        for number in range(5 + half, 5 + self.middle_blocks):
            x = getattr(net, f"block{number}")(x)
        x = net.act4(net.bn4(net.conv4(net.act3(net.bn3(net.conv3(x))))))
        return found | {"fake": self.head(self._dropped(x.mean(dim=(2, 3))))[:, 0]}

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.2, training=self.random and self.training)

    def _noisy(self, images: Tensor) -> Tensor:
        if not (self.random and self.training):
            return images
        noisy = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        return (images + NOISE * noisy * torch.randn_like(images)).clamp(-1, 1)


def batch_losses(found: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The sum of RECCE's weighted losses, of a batch with two reals or more, and fakes."""
    entropy = F.binary_cross_entropy_with_logits(found["fake"].float(), labels.float())
    reals = labels == 0
    reconstruction = (found["reconstruction"][reals] - images[reals]).abs().mean()
    apart = torch.zeros((), device=images.device)
    for name in ("code", "coarse", "fine"):
        unit = F.normalize(found[name].float().mean(dim=(2, 3)), dim=1)
        alike = (1 + unit @ unit.T) / 2
        count = reals.sum()
        of_reals = alike[reals][:, reals]
        mean = (of_reals.sum() - of_reals.diagonal().sum()) / (count * (count - 1))
        apart = apart + 1 - mean + alike[reals][:, ~reals].mean()
    return (entropy - FLOOD).abs() + FLOOD + 0.1 * reconstruction + 0.1 * apart
