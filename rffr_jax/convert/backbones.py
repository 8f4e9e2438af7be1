"""Backbones of detectors: names, sizes and usual normalisation.

Xception is timm's `legacy_xception` (formerly `xception`), whose names are those of Cadene's
`pretrainedmodels`; EfficientNet is timm's `tf_efficientnet_b0` to `b7`. Their classifiers and
PyTorch's counters of batches have no place here.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from rffr_jax.convert.rules import KERNEL, POINTWISE_LINEAR, Rule
from rffr_jax.convert.tables import Table
from rffr_jax.convert.vision_transformers import is_config_of, vision_settings, vision_table
from rffr_jax.errors import UserError
from rffr_jax.models.backbone import Backbone as VisionTransformer
from rffr_jax.models.efficientnet import STAGES, EfficientNet, round_channels, stage_depths
from rffr_jax.models.sizes import BackboneSettings, EfficientNetSettings, XceptionSettings
from rffr_jax.models.xception import Xception

COUNTERS = ".num_batches_tracked"
EFFICIENTNETS = {
    **{"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4), "b4": (1.4, 1.8)},
    **{"b5": (1.6, 2.2), "b6": (1.8, 2.6), "b7": (2.0, 3.1), "tiny": (0.05, 0.3)},
}
"""Factors of width and depth; `tiny` is ours."""

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network whose weights are read.

    Attributes:
      infer: its settings, by the shapes in a file.
      build: our module.
      table: its names; depends on the settings and on the names in the file.
      usual: normalisation of its training, a name of `NORMALISATIONS`, by the file's name.
      is_config_of: whether the settings in a config.json are of this network and size.
    """

    infer: Callable[[Arrays, pathlib.Path], Any]
    build: Callable[[Any, nnx.Rngs], nnx.Module]
    table: Callable[[Any, Arrays], Table]
    usual: Callable[[str], str]
    is_config_of: Callable[[Mapping[str, Any], Any], bool]


# ---- Xception


def _xception_settings(arrays: Arrays, path: pathlib.Path) -> XceptionSettings:
    blocks = {name.split(".")[0] for name in arrays if re.match(r"block\d+\.rep\.", name)}
    return XceptionSettings(_length(arrays, "conv1.weight", path) / 32, len(blocks) - 4)


def _xception_table(settings: XceptionSettings, arrays: Arrays) -> Table:
    middle = [f"middle/middle{n}" for n in range(settings.middle_blocks)]
    paths = ["entry1", "entry2", "entry3", *middle, "exit1"]
    rules = [*_normalised("conv1", "bn1", "stem1"), *_normalised("conv2", "bn2", "stem2")]
    for number, path in enumerate(paths, 1):
        block, is_middle = f"block{number}", path in middle
        # The first block has no ReLU before its first convolution.
        first = 0 if number == 1 else 1
        for n in range(3 if is_middle else 2):
            place = first + 3 * n
            rules += _separable(
                f"{block}.rep.{place}",
                f"{block}.rep.{place + 1}",
                f"{path}/convolutions/convolution{n}",
            )
        if not is_middle:
            rules += _normalised(f"{block}.skip", f"{block}.skipbn", f"{path}/shortcut")
    rules += [*_separable("conv3", "bn3", "exit2"), *_separable("conv4", "bn4", "exit3")]
    return [*rules, Rule("fc.*"), Rule("last_linear.*")]


def _separable(convolution: str, norm: str, path: str) -> Table:
    return [
        Rule(f"{convolution}.conv1.weight", f"{path}/depthwise/kernel", KERNEL),
        Rule(f"{convolution}.pointwise.weight", f"{path}/pointwise/kernel", KERNEL),
        *_norm(norm, f"{path}/norm"),
    ]


# ---- EfficientNet


def _efficientnet_settings(arrays: Arrays, path: pathlib.Path) -> EfficientNetSettings:
    found = tuple(
        len({name.split(".")[2] for name in arrays if name.startswith(f"blocks.{stage}.")})
        for stage in range(len(STAGES))
    )
    stem, head = (_length(arrays, f"{name}.weight", path) for name in ("conv_stem", "conv_head"))
    for width, depth in EFFICIENTNETS.values():
        settings = EfficientNetSettings(width, depth)
        channels = (round_channels(width * 32), round_channels(width * 1280))
        if tuple(stage_depths(settings)) == found and channels == (stem, head):
            return settings
    raise UserError(
        f"{path} is of no EfficientNet known here: {stem} channels first, {head} last, and "
        f"{', '.join(map(str, found))} blocks; known are B0 to B7 of timm's tf_efficientnet"
    )


def _efficientnet_table(settings: EfficientNetSettings, arrays: Arrays) -> Table:
    rules = _normalised("conv_stem", "bn1", "stem")
    for stage, ((expansion, *_), repeats) in enumerate(
        zip(STAGES, stage_depths(settings), strict=True)
    ):
        for block in range(repeats):
            there, path = f"blocks.{stage}.{block}", f"blocks/stage{stage}_block{block}"
            names = ("depthwise", "project")
            layers = (("conv_dw", "bn1"), ("conv_pw", "bn2"))
            if expansion > 1:
                names = ("expand", *names)
                layers = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))
            for name, (convolution, norm) in zip(names, layers, strict=True):
                rules += _normalised(f"{there}.{convolution}", f"{there}.{norm}", f"{path}/{name}")
            for name, layer in (("squeeze", "conv_reduce"), ("excite", "conv_expand")):
                rules += [
                    Rule(f"{there}.se.{layer}.weight", f"{path}/{name}/kernel", POINTWISE_LINEAR),
                    Rule(f"{there}.se.{layer}.bias", f"{path}/{name}/bias"),
                ]
    return [*rules, *_normalised("conv_head", "bn2", "head"), Rule("classifier.*")]


# ---- both


def _normalised(convolution: str, norm: str, path: str) -> Table:
    kernel = Rule(f"{convolution}.weight", f"{path}/convolution/kernel", KERNEL)
    return [kernel, *_norm(norm, f"{path}/norm")]


def _norm(name: str, path: str) -> Table:
    ours = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    return [Rule(f"{name}.{theirs}", f"{path}/{leaf}") for theirs, leaf in ours.items()]


def _length(arrays: Arrays, name: str, path: pathlib.Path) -> int:
    """Channels that a convolution gives. Raises: UserError if the file lacks it."""
    if name not in arrays:
        raise UserError(f"{path} does not fit; missing: {name}")
    return len(arrays[name])


def _vision_transformer(settings: BackboneSettings, rngs: nnx.Rngs) -> nnx.Module:
    return VisionTransformer(settings, dtype=jnp.float32, rngs=rngs)


def _is_named(config: Mapping[str, Any], beginnings: tuple[str, ...]) -> bool:
    """Whether timm's name of the network begins with one of these."""
    return str(config.get("architecture")).startswith(beginnings)


BACKBONES = {
    "xception": Backbone(
        _xception_settings,
        lambda settings, rngs: Xception(settings, 299, dtype=jnp.float32, rngs=rngs),
        _xception_table,
        lambda name: "half",
        lambda config, settings: _is_named(config, ("xception", "legacy_xception")),
    ),
    "efficientnet": Backbone(
        _efficientnet_settings,
        lambda settings, rngs: EfficientNet(settings, dtype=jnp.float32, rngs=rngs),
        _efficientnet_table,
        lambda name: "half" if "_ap" in name or ".ap" in name else "imagenet",
        lambda config, settings: _is_named(config, ("tf_efficientnet_b",)),
    ),
    "dinov2": Backbone(
        vision_settings, _vision_transformer, vision_table, lambda name: "imagenet", is_config_of
    ),
    "clip": Backbone(
        vision_settings, _vision_transformer, vision_table, lambda name: "clip", is_config_of
    ),
}
"""By their kind; Google's AdvProp weights (`ap`) were trained on pixels in [-1, 1]."""
