"""The rivals whose training steps are measured, and the shapes of their networks."""

import dataclasses
from typing import Any

from scripts.benchmark.setup import Setup

QUICK_SIZE = "tiny"

PUBLISHED: dict[str, tuple[int, dict[str, Any]]] = {
    "xception": (299, {"width": 1.0, "middle_blocks": 8}),
    "sbi": (380, {"width": 1.4, "depth": 1.8}),
    "recce": (299, {"width": 1.0, "middle_blocks": 8}),
    "uia_vit": (224, {"size": "vit_b16", "patch_size": 16}),
}
QUICK: dict[str, tuple[int, dict[str, Any]]] = {
    "xception": (64, {"width": 0.0625, "middle_blocks": 1}),
    "sbi": (64, {"width": 0.05, "depth": 0.3}),
    "recce": (64, {"width": 0.0625, "middle_blocks": 2}),
    "uia_vit": (56, {"size": "tiny", "patch_size": 8}),
}
"""Image size in pixels and the section `rival`, by name."""


def rival_shapes(setup: Setup, name: str) -> dict[str, Any]:
    """The section `rival`: as published, or small in a quick run."""
    return (QUICK if setup.size == QUICK_SIZE else PUBLISHED)[name][1]


def rival_setup(setup: Setup, name: str) -> Setup:
    """The setup with the image size of a rival, which is one patch."""
    size = (QUICK if setup.size == QUICK_SIZE else PUBLISHED)[name][0]
    return dataclasses.replace(setup, image_size=size, patch_size=size, k=1)
