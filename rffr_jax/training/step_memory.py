"""Temporary memory of a training step, roughly: by it a CPU's allocator is set."""

from collections.abc import Mapping
from typing import Any

from rffr_jax.models.sizes import ModelSettings
from rffr_jax.rivals import find_rival, rival_settings

VALUES_A_PIXEL = 700
"""Activations of an Xception's training step for each pixel of its images."""


def training_step_bytes(settings: ModelSettings, images: int) -> int:
    """Temporary memory of a training step in float32 in bytes, roughly: activations of all layers.

    Args:
      images: that are computed at a time.
    """
    shape, tokens = settings.shape, 1 + settings.grid**2
    layers = (
        (shape.depth, shape.width, shape.heads),
        (shape.decoder_depth, shape.decoder_width, shape.decoder_heads),
    )
    values = sum(depth * (24 * tokens * w + 3 * h * tokens**2) for depth, w, h in layers)
    return 4 * images * values


def rival_step_bytes(name: str, given: Mapping[str, Any], image_size: int, images: int) -> int:
    """The same of a rival: of its ViT, or about that of a whole Xception, whatever the width.

    Args:
      given: the config section `rival`.

    Raises:
      UserError: no such rival, or settings that make no network.
    """
    if find_rival(name).Detector.starts_from == "vit":
        return training_step_bytes(rival_settings(name, given).vit(image_size), images)
    return 4 * images * VALUES_A_PIXEL * image_size**2
