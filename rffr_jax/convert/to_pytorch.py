"""A whole detector as arrays and sizes for the PyTorch modules of `pytorch_detector.py`."""

import pathlib
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from rffr_jax.convert.rules import KERNEL, Rule, to_source
from rffr_jax.convert.tables import Table, pytorch_linear, pytorch_norm
from rffr_jax.errors import UserError
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.layers import sincos_positions
from rffr_jax.models.sizes import ModelSettings

MODULES_FILE = pathlib.Path(__file__).with_name("pytorch_detector.py")


def _blocks(name: str, path: str) -> Table:
    block, ours = f"{name}.{{n}}", f"{path}/blocks"
    return [
        *pytorch_norm(f"{block}.norm1", f"{ours}/attention_norm"),
        *pytorch_linear(f"{block}.qkv", f"{ours}/qkv"),
        *pytorch_linear(f"{block}.proj", f"{ours}/projection"),
        *pytorch_norm(f"{block}.norm2", f"{ours}/mlp_norm"),
        *pytorch_linear(f"{block}.fc1", f"{ours}/expand"),
        *pytorch_linear(f"{block}.fc2", f"{ours}/contract"),
    ]


MAE_TABLE = [
    *pytorch_linear("embedding", "embedding"),
    Rule("class_token", "class_token"),
    Rule("positions", "positions"),
    *_blocks("blocks", "encoder"),
    *pytorch_norm("norm", "encoder_norm"),
    *pytorch_linear("decoder_embed", "decoder_embedding"),
    Rule("mask_token", "mask_token"),
    Rule("decoder_positions", "decoder_positions"),
    *_blocks("decoder_blocks", "decoder"),
    *pytorch_norm("decoder_norm", "decoder_norm"),
    *pytorch_linear("prediction", "prediction"),
]
VIT_TABLE = [
    *pytorch_linear("embedding", "embedding"),
    Rule("class_token", "class_token"),
    Rule("positions", "positions"),
    *_blocks("blocks", "transformer"),
    *pytorch_norm("norm", "norm"),
]
ADDITION_TABLES = {
    "conv": [
        *pytorch_linear("additions.conv.first", "additions/conv/first", KERNEL),
        *pytorch_linear("additions.conv.second", "additions/conv/second", KERNEL),
        *pytorch_linear("additions.conv.output", "additions/conv/output"),
    ],
    "logdct": pytorch_linear("additions.logdct.output", "additions/logdct/output"),
}


def require_pytorch_modules(settings: DetectionSettings):
    """Raises: UserError for a detector that `pytorch_detector.py` does not describe."""
    what = ""
    if settings.is_rival:
        what = f"detector.backbone={settings.backbone}"
    elif settings.pretrained is not None:
        what = "a pretrained backbone"
    elif settings.reads_residual and settings.residual != "mae":
        what = f"detector.residual={settings.residual}"
    if what:
        raise UserError(
            f"--to torch describes ViTs and the residual of a MAE, and this detector has {what}; "
            "--to stablehlo takes every detector"
        )


def export_pytorch(
    detection: Detection, parameters: PyTree, frozen: PyTree
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays by the names of the PyTorch `Detector`'s state, float32, and its argument.

    A head on single patches, which only the training reads, is left out.

    Args:
      parameters: of the detector.
      frozen: of its MAE; {} without one.

    Raises:
      UserError: as for `require_pytorch_modules`.
    """
    settings = detection.settings
    require_pytorch_modules(settings)
    parameters, frozen = jax.device_get((parameters, frozen))
    table = [*VIT_TABLE, *(rule for name in settings.additions for rule in ADDITION_TABLES[name])]
    parts = {
        f"branches.{name}.": to_source(branch, table, settings.model.shape.heads)
        for name, branch in parameters["branches"].items()
    }
    parts["head."] = to_source({"head": parameters["head"]}, pytorch_linear("", "head"), 1)
    if settings.needs_mae:
        assert settings.mae is not None
        complete = {**frozen, **_fixed_positions(settings.mae)}
        parts["mae."] = to_source(complete, MAE_TABLE, settings.mae.shape.heads)
    arrays = {
        f"{part}{name.removeprefix('.')}": np.asarray(array, np.float32)
        for part, source in parts.items()
        for name, array in source.items()
    }
    return arrays, _network(settings, detection.blocks)


def _fixed_positions(settings: ModelSettings) -> dict[str, np.ndarray]:
    size = settings.shape
    return {
        "positions": sincos_positions(settings.grid, size.width),
        "decoder_positions": sincos_positions(settings.grid, size.decoder_width),
    }


def _network(settings: DetectionSettings, blocks: BlockGrid) -> dict[str, Any]:
    if settings.blocks == "full":
        read = list(range(blocks.patches))
    else:
        read = blocks.hidden.reshape(-1).tolist()
    return {
        "size": settings.model.image_size,
        "patch_size": settings.model.patch_size,
        "mean": list(settings.mean),
        "std": list(settings.std),
        "alpha": settings.alpha,
        "branches": list(settings.branches),
        "read_patches": read,
        "passes": blocks.hidden_in_pass[blocks.passes[:, 0]].tolist(),
        "vit": {**_size(settings.model), "additions": list(settings.additions)},
        "mae": _size(settings.mae) if settings.needs_mae and settings.mae else None,
    }


def _size(settings: ModelSettings) -> dict[str, int]:
    return {
        **vars(settings.shape),
        "patches": settings.grid**2,
        "pixels": 3 * settings.patch_size**2,
    }
