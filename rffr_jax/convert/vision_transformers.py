"""Vision transformers with more parts than a plain ViT: DINOv2, and CLIP's vision tower.

Their names are those of timm, of facebookresearch's DINOv2 (nearly timm's) and of transformers'
`Dinov2Model`, `Dinov2WithRegistersModel` and `CLIPVisionModel`. What the arrays do not show (heads,
activation, epsilon) is in config.json beside the file, or assumed.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rffr_jax.convert.rules import CONVOLUTION, ONE_BEFORE, PATCHES_ONLY, SAME, VECTOR, Rule
from rffr_jax.convert.tables import Table, pytorch_linear, pytorch_norm, timm_blocks
from rffr_jax.errors import UserError
from rffr_jax.models.layers import ACTIVATIONS
from rffr_jax.models.sizes import BackboneSettings

HEAD_WIDTH = 64
"""Channels of a head in all published sizes."""
CLIP_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
"""Of transformers' `CLIPVisionConfig`, which writes only what differs into a `CLIPConfig`."""
REGISTERS = ("reg_token", "register_tokens", "embeddings.register_tokens")
BLOCKS = r"(?:blocks|encoder\.layers?)\.(\d+)\."
"""The number of a block, in all of these names."""

Arrays = Mapping[str, np.ndarray]


def vision_settings(arrays: Arrays, path: pathlib.Path) -> BackboneSettings:
    """The settings that the arrays of a file show; the rest as in the published models.

    Raises:
      UserError: arrays are missing, or contradict each other.
    """
    kernel = _first(arrays, path, "patch_embed.proj.weight", f"{_HF}.projection.weight", _CLIP)
    positions = _first(
        arrays,
        path,
        "pos_embed",
        "embeddings.position_embeddings",
        "embeddings.position_embedding.weight",
    )
    if kernel.ndim != 4 or kernel.shape[1] != 3 or kernel.shape[2] != kernel.shape[3]:
        raise UserError(f"{path} does not fit: {kernel.shape} are no square patches of 3 colours")
    width, patch = len(kernel), kernel.shape[-1]
    patches = positions.shape[-2] - (not _is_of_patches_only(positions))
    grid = round(patches**0.5)
    if grid**2 != patches:
        raise UserError(f"{path} does not fit: {patches} positions of patches are no square grid")
    numbers = [int(found[1]) for name in arrays if (found := re.match(BLOCKS, name))]
    registers = next((arrays[name] for name in REGISTERS if name in arrays), np.zeros((0, 0)))
    norm_before = any(re.match(r"(norm_pre|pre_layrnorm)\.", name) for name in arrays)
    return BackboneSettings(
        width=width,
        depth=1 + max(numbers, default=-1),
        heads=max(1, width // HEAD_WIDTH),
        image_size=grid * patch,
        patch_size=patch,
        registers=registers.shape[-2] if registers.ndim > 1 else 0,
        layer_scale=any(re.search(r"(ls1\.gamma|layer_scale1\.lambda1)$", n) for n in arrays),
        norm_before=norm_before,
        activation="quick_gelu" if norm_before else "gelu",
        epsilon=1e-5 if norm_before else 1e-6,
    )


def find_facts(
    settings: BackboneSettings, path: pathlib.Path, heads: int | None
) -> tuple[BackboneSettings, dict[str, list[str]]]:
    """The settings with what the arrays do not show, and each fact in words by its source.

    Args:
      path: of the file; config.json beside it counts where it is of this network.
      heads: of a flag; None without it.

    Raises:
      UserError: heads that do not divide the width, or an activation that is not computed here.
    """
    told = _told(read_beside(path, CONFIG), settings)
    facts: dict[str, list[str]] = {}

    def find(name: str, assumed: Any, words: str) -> Any:
        value, source = (told[name], CONFIG) if name in told else (assumed, "assumed")
        facts.setdefault(source, []).append(words.format(value))
        return value

    if heads is not None:
        facts["--heads"] = [f"{heads} heads"]
    else:
        words = "{} heads"
        heads = find("num_attention_heads", settings.heads, words)
    if type(heads) is not int or heads < 1 or settings.width % heads:
        raise UserError(f"{path}: {heads!r} heads do not divide the width {settings.width}")
    activation = find("hidden_act", settings.activation, "activation {}")
    if activation not in ACTIVATIONS:
        raise UserError(
            f"{path}: {CONFIG} says hidden_act {activation!r}; only {' and '.join(ACTIVATIONS)} "
            "are computed here"
        )
    epsilon = find("layer_norm_eps", settings.epsilon, "layer norms with epsilon {}")
    return dataclasses.replace(
        settings, heads=heads, activation=activation, epsilon=float(epsilon)
    ), facts


def read_beside(path: pathlib.Path, name: str) -> dict[str, Any]:
    """The JSON object beside a file of weights; {} where there is none."""
    try:
        content = json.loads(path.with_name(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_config_of(config: Mapping[str, Any], settings: BackboneSettings) -> bool:
    """Whether a config.json of transformers or timm is of a network of this family and size."""
    if "architecture" in config:
        name = str(config["architecture"])
        found = {"patch": settings.patch_size, "reg": settings.registers}
        named = {part: int(number) for part, number in re.findall(r"_(patch|reg)(\d+)", name)}
        return (
            name.startswith(("vit_", "deit"))
            and ("clip" in name) == settings.norm_before
            and config.get("num_features") == settings.width
            and found == found | named
        )
    inner = _inner_config(config)
    sizes = {"hidden_size": settings.width, "num_hidden_layers": settings.depth}
    sides = {"patch_size": settings.patch_size, "image_size": settings.image_size}
    return (
        ("clip" if settings.norm_before else "dinov2") in str(inner.get("model_type"))
        and all(inner.get(name) == size for name, size in sizes.items())
        and all(inner.get(name, side) == side for name, side in sides.items())
    )


def _inner_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' settings of the vision tower, with its defaults where these are not written."""
    inner = config.get("vision_config", config)
    inner = {"model_type": config.get("model_type"), **(inner if isinstance(inner, dict) else {})}
    if inner["model_type"] in ("clip", "clip_vision_model"):
        return CLIP_DEFAULTS | inner
    return inner


def _told(config: dict[str, Any], settings: BackboneSettings) -> dict[str, Any]:
    """What config.json says, under transformers' names; {} if it is another model's."""
    if not is_config_of(config, settings):
        return {}
    if "architecture" in config:
        quick = "quickgelu" in str(config["architecture"])
        return {"hidden_act": "quick_gelu" if quick else "gelu"}
    inner = _inner_config(config)
    told = {"num_attention_heads", "hidden_act", "layer_norm_eps"} & inner.keys()
    return {name: inner[name] for name in told}


def vision_table(settings: BackboneSettings, arrays: Arrays) -> Table:
    """The names of the file's arrays, of whichever project they are."""
    if _CLIP in arrays:
        return _clip_table()
    if f"{_HF}.projection.weight" in arrays:
        in_memory = any(".attention.q_proj." in name for name in arrays)
        return _huggingface_dinov2_table(settings, in_memory)
    return _timm_table(settings, arrays)


CONFIG = "config.json"
_HF = "embeddings.patch_embeddings"
_CLIP = "embeddings.patch_embedding.weight"


def _timm_table(settings: BackboneSettings, arrays: Arrays) -> Table:
    of_patches = _is_of_patches_only(arrays["pos_embed"])
    rules = [
        Rule("cls_token", "class_token", VECTOR),
        Rule("pos_embed", "positions", PATCHES_ONLY if of_patches else ONE_BEFORE),
        Rule("patch_embed.proj.weight", "embedding/kernel", CONVOLUTION),
        *timm_blocks("blocks", "transformer"),
        *pytorch_norm("norm", "norm"),
        Rule("head.*"),
        Rule("mask_token"),
    ]
    if settings.norm_before:
        rules += pytorch_norm("norm_pre", "norm_before")
    else:
        rules.append(Rule("patch_embed.proj.bias", "embedding/bias"))
    if settings.registers:
        name = next(name for name in REGISTERS if name in arrays)
        rules.append(Rule(name, "registers", ONE_BEFORE))
    return rules + _layer_scale(settings, "blocks.{n}.ls1.gamma", "blocks.{n}.ls2.gamma")


def _huggingface_dinov2_table(settings: BackboneSettings, in_memory: bool) -> Table:
    block, ours = "encoder.layer.{n}", "transformer/blocks"
    attention = f"{block}.attention"
    if in_memory:
        names = [f"{attention}.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
    else:
        names = [f"{attention}.attention.{name}" for name in ("query", "key", "value")]
        names.append(f"{attention}.output.dense")
    rules = [
        Rule("embeddings.cls_token", "class_token", VECTOR),
        Rule("embeddings.position_embeddings", "positions", ONE_BEFORE),
        Rule("embeddings.mask_token"),
        *pytorch_linear(f"{_HF}.projection", "embedding", CONVOLUTION),
        *pytorch_norm(f"{block}.norm1", f"{ours}/attention_norm"),
        *_attention(names, ours),
        *pytorch_norm(f"{block}.norm2", f"{ours}/mlp_norm"),
        *pytorch_linear(f"{block}.mlp.fc1", f"{ours}/expand"),
        *pytorch_linear(f"{block}.mlp.fc2", f"{ours}/contract"),
        *pytorch_norm("layernorm", "norm"),
    ]
    if settings.registers:
        rules.append(Rule("embeddings.register_tokens", "registers", ONE_BEFORE))
    scales = (f"{block}.layer_scale{n}.lambda1" for n in (1, 2))
    return rules + _layer_scale(settings, *scales)


def _clip_table() -> Table:
    block, ours = "encoder.layers.{n}", "transformer/blocks"
    names = [f"{block}.self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
    return [
        Rule("embeddings.class_embedding", "class_token"),
        Rule("embeddings.position_embedding.weight", "positions"),
        Rule("embeddings.position_ids"),
        Rule(_CLIP, "embedding/kernel", CONVOLUTION),
        *pytorch_norm("pre_layrnorm", "norm_before"),
        *pytorch_norm(f"{block}.layer_norm1", f"{ours}/attention_norm"),
        *_attention(names, ours),
        *pytorch_norm(f"{block}.layer_norm2", f"{ours}/mlp_norm"),
        *pytorch_linear(f"{block}.mlp.fc1", f"{ours}/expand"),
        *pytorch_linear(f"{block}.mlp.fc2", f"{ours}/contract"),
        *pytorch_norm("post_layernorm", "norm"),
    ]


def _attention(names: list[str], ours: str) -> Table:
    """Query, key, value and the projection of what they give."""
    *inputs, projection = names
    rules = [
        rule
        for part, name in enumerate(inputs)
        for rule in pytorch_linear(name, f"{ours}/qkv", part=part)
    ]
    return [*rules, *pytorch_linear(projection, f"{ours}/projection")]


def _layer_scale(settings: BackboneSettings, attention: str, mlp: str) -> Table:
    if not settings.layer_scale:
        return []
    ours = "transformer/blocks"
    return [
        Rule(attention, f"{ours}/attention_scale", SAME),
        Rule(mlp, f"{ours}/mlp_scale", SAME),
    ]


def _is_of_patches_only(positions: np.ndarray) -> bool:
    """Whether none is the class token's, as where timm has `no_embed_class`: a square number."""
    return round(positions.shape[-2] ** 0.5) ** 2 == positions.shape[-2]


def _first(arrays: Arrays, path: pathlib.Path, *names: str) -> np.ndarray:
    """The array that has one of these names. Raises: UserError if none has."""
    for name in names:
        if name in arrays:
            return arrays[name]
    raise UserError(f"{path} does not fit; missing: {' or '.join(names)}")
