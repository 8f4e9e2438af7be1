"""UIA-ViT in PyTorch, written from its description, to compare with."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from tests.convert.pytorch_models import EPSILON, VisionTransformer


class UIAViT(nn.Module):
    """timm's ViT with the head and the losses of UIA-ViT, image by image and block by block.

    Args:
      middle, late: numbers of blocks, counted from 1.
    """

    def __init__(self, vit: VisionTransformer, middle: int, late: Sequence[int]):
        super().__init__()
        self.vit, self.middle, self.late = vit, middle, late
        self.head = nn.Linear(2 * vit.embed_dim, 2)
        self.constants = nn.Parameter(torch.tensor([0.2, 0.6, 0.6]))

    def forward(self, images: torch.Tensor, progress: float) -> dict[str, torch.Tensor]:
        x = self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed(images)))
        batch, tokens, width = x.shape
        features, products = x, []
        for number, block in enumerate(self.vit.blocks, 1):
            if number in self.late:
                heads = block.attn.num_heads
                qkv = block.attn.qkv(block.norm1(x)).reshape(batch, tokens, 3, heads, -1)
                query, key, _ = qkv.permute(2, 0, 3, 1, 4)
                products.append(query @ key.transpose(2, 3) / (width // heads) ** 0.5)
            x = block(x)
            if number == self.middle:
                features = nn.functional.layer_norm(x[:, 1:], (width,), eps=EPSILON)
        x = self.vit.norm(x)
        attention = torch.cat(products, dim=1).mean(dim=1)
        assembled = []
        for own, row in zip(x, attention, strict=True):
            total = 0
            for patch, product in zip(own[1:], row[0, 1:], strict=True):
                even = 1 / (1 + np.exp(12 * (progress - 0.7)))
                by_attention = even + (1 - even) * torch.sigmoid(product)
                total = total + (by_attention if progress >= 1 / 8 else 1) * patch / len(own[1:])
            assembled.append(torch.cat([own[0], total]))
        logits = self.head(torch.stack(assembled))
        return {"features": features, "attention": attention, "tokens": x, "logits": logits}

    def loss(
        self, found: dict[str, torch.Tensor], labels: np.ndarray, looks_fake: np.ndarray
    ) -> torch.Tensor:
        """Of a batch that is half fake, behind the first epoch."""
        between, in_fake, in_real = self.constants
        attention = torch.sigmoid(found["attention"][:, 1:, 1:])
        patches, distance = attention.shape[-1], 0
        for own, label, fake in zip(attention, labels, looks_fake, strict=True):
            for i in range(patches):
                for j in range(patches):
                    wanted = in_real
                    if label == 0 and i == j:
                        wanted = 1
                    elif label == 1 and fake[i] and fake[j]:
                        wanted = in_fake
                    elif label == 1 and fake[i] != fake[j]:
                        wanted = between
                    distance = distance + abs(own[i, j] - wanted)
        distance = distance / (len(labels) / 2 * (patches**2 - patches))
        classes = nn.functional.cross_entropy(found["logits"], torch.from_numpy(labels))
        apart = 0.5 * abs(between) + 0.05 / abs(in_fake) + 0.05 / abs(in_real)
        return classes + 0.06 * distance + apart
