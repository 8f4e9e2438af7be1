"""Finds the kind, prefix and size of the network in a file by names and shapes of its arrays."""

import dataclasses
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rffr_jax.convert.backbones import BACKBONES
from rffr_jax.convert.files import LazyArrays, WeightFile
from rffr_jax.convert.rules import Rule, find_rule
from rffr_jax.convert.tables import HUGGINGFACE_NAMES
from rffr_jax.errors import UserError
from rffr_jax.models.sizes import SIZES, ModelSettings

WITH_DECODER = "mae_visualize_vit_base.pth"
FIRST_LAYERS = {
    "timm": "patch_embed.proj.weight",
    "hf": "embeddings.patch_embeddings.projection.weight",
    "google": "embedding/kernel",
    "xception": "block1.rep.0.conv1.weight",
    "efficientnet": "conv_stem.weight",
    "clip": "embeddings.patch_embedding.weight",
}
"""An array that each kind has, and no other."""

DECODER_EMBEDDINGS = ("decoder_embed.weight", "decoder.decoder_embed.weight")

PARTS = {
    r"(reg_token|register_tokens|storage_tokens)$": "register tokens (DINOv2, DINOv3)",
    r"(\.ls[12]\.gamma|\.gamma_[12]|layer_scale|\.lambda_[12])": "layer scale (DINOv2, CaiT, BEiT)",
    r"mlp\.(w12|w[123]|fc1_[gx]|gate_proj|weights_in)\.": "SwiGLU MLPs in place of GELU",
    r"(\brope\b|rotary|inv_freq|freqs_cis)": "rotary positions",
    r"(relative_position|rel_pos)": "relative positions (BEiT, SAM)",
    r"\.(q_norm|k_norm|query_norm|key_norm)\.": "norms of queries and keys (ViT-22B)",
    r"(norm_pre|pre_layrnorm|ln_pre)\.": "a norm before the blocks (CLIP)",
    r"(dist_token|distillation_token)$": "a distillation token (distilled DeiT)",
    r"attn_pool\.": "attention pooling (SigLIP)",
    r"^fc_norm\.": "a norm of averaged patches in place of the class token's (a MAE fine-tuned)",
}
"""Parts that a plain ViT has not, by a pattern of their arrays' names."""

FAMILIES = {
    "dinov2": r"(\.ls[12]\.gamma|\.layer_scale[12]\.lambda1|^reg_token|register_tokens)$",
    "clip": r"^norm_pre\.",
}
"""Vision transformers of more parts under the names of `timm` or `hf`, by a pattern of them."""
SUPPORTED = {
    "dinov2": ("register tokens (DINOv2, DINOv3)", "layer scale (DINOv2, CaiT, BEiT)"),
    "clip": ("a norm before the blocks (CLIP)",),
}
"""The parts of these that are read."""

NETWORKS = {
    r"^conv_proj\.weight$": "a ViT of torchvision; timm has it under names that are read",
    r"^visual\.": "CLIP of OpenAI, which transformers and timm have under names that are read",
    r"embeddings\.patch_embeddings\.weight$": "DINOv3 of transformers",
    r"^params/": "a ViT of big_vision; those of Google's vision_transformer are read",
    r"(layers|stages)\.\d+\.blocks\.\d+\.": "a network of stages (Swin, ConvNeXt)",
    r"^(layer[1-4]\.\d+\.conv1|conv1)\.": "a ResNet",
    r"^_conv_stem\.": "an EfficientNet of efficientnet_pytorch; timm's tf_efficientnet is read",
    r"^stem\.0\.conv\.weight$": "an aligned Xception of timm; its legacy_xception is read",
}
"""Networks that are not supported, by a pattern of one name."""


@dataclasses.dataclass(frozen=True)
class Network:
    """The network of a file that is converted.

    Attributes:
      kind: `timm`, `hf`, `google`, `mae` or `rffr`; or one of `BACKBONES`.
      has_decoder: whether it has a MAE's decoder.
      arrays: of the network, without the prefix.
      prefix: of all its names in the file.
      others: names in the file without that prefix.
    """

    kind: str
    has_decoder: bool
    arrays: LazyArrays
    prefix: str
    others: list[str]

    def summarise_others(self) -> str:
        """The names outside the network, grouped by as many parts as its prefix has."""
        parts = self.prefix.count(".")
        groups = Counter(
            ".".join(name.split(".")[:parts]) + (".*" if name.count(".") >= parts else "")
            for name in self.others
        )
        return ", ".join(f"{group} ({count})" for group, count in groups.items())


def recognise_network(file: WeightFile, prefix: str | None = None) -> Network:
    """Finds the network of a file.

    Args:
      prefix: of the network, if there are several.

    Raises:
      UserError: there is no known network, there are several, or it has parts that are not
        supported.
    """
    if any(re.search(r"(^|\.)backbone_[12]\.", name) for name in file.arrays):
        raise UserError(
            f"{file.path} is a detector of the RFFR authors: their code read a patch in place of "
            "the class token, and residuals one patch to the right, so its weights mean nothing in "
            "a forward pass without those errors; convert their MAE, and train the detector"
        )
    kinds = _find_prefixes(file.arrays)
    if not kinds:
        _refuse_unknown(file.path, file.arrays)
    prefix = _choose_prefix(file.path, list(kinds), prefix)
    inner = [other for other in kinds if other.startswith(prefix) and other != prefix]
    names = [n for n in file.arrays if n.startswith(prefix) and not n.startswith(tuple(inner))]
    arrays = file.arrays.select(names).without_prefix(prefix)
    kind, has_decoder = kinds[prefix], any(name in arrays for name in DECODER_EMBEDDINGS)
    if kind in ("timm", "hf"):
        families = (f for f in FAMILIES if any(re.search(FAMILIES[f], name) for name in arrays))
        kind = next(families, kind)
    if kind not in BACKBONES or kind in SUPPORTED:
        _refuse_unsupported(file.path, arrays, SUPPORTED.get(kind, ()))
    if kind == "timm" and has_decoder:
        kind = "rffr" if file.wrapper == "state_dict" else "mae"
    taken = set(names)
    return Network(kind, has_decoder, arrays, prefix, [n for n in file.arrays if n not in taken])


def _find_prefixes(names: LazyArrays) -> dict[str, str]:
    """The prefix of every first layer, with the kind that has its name."""
    found = {}
    for name in names:
        for kind, embedding in FIRST_LAYERS.items():
            prefix = name.removesuffix(embedding)
            if prefix != name and (not prefix or prefix.endswith(".")):
                found[prefix.removesuffix("vit.") if kind == "hf" else prefix] = kind
    return found


def _choose_prefix(path: pathlib.Path, prefixes: Sequence[str], asked: str | None) -> str:
    known = ", ".join(repr(prefix) for prefix in prefixes)
    if asked is not None:
        chosen = next((p for p in prefixes if p.rstrip(".") == asked.rstrip(".")), None)
        if chosen is None:
            raise UserError(
                f"{path} has no network under --prefix {asked!r}; choose one of {known}"
            )
        return chosen
    if len(prefixes) > 1:
        raise UserError(
            f"{path} holds {len(prefixes)} networks, under {known}; say which with --prefix"
        )
    return prefixes[0]


def _refuse_unknown(path: pathlib.Path, names: Iterable[str]):
    """Raises: UserError, always: it names the network, if its names are known."""
    names = list(names)
    first = ", ".join(names[:3])
    for pattern, network in NETWORKS.items():
        if any(re.search(pattern, name) for name in names):
            raise UserError(
                f"{path} is no network known here: by its names it is {network}; its first "
                f"names are {first}"
            )
    raise UserError(f"{path} is no network known here; its first names are {first}")


def _refuse_unsupported(path: pathlib.Path, names: Iterable[str], supported: Sequence[str]):
    """Raises: UserError for a ViT with parts that are not supported; it names all of them."""
    names = list(names)
    found = []
    for pattern, part in PARTS.items():
        example = next((name for name in names if re.search(pattern, name)), None)
        if example is not None and part not in supported:
            found.append(f"{part}: {example}")
    if not any(re.search(r"(cls_token|class_embedding|(^|/)cls)$", name) for name in names):
        found.append("no class token (averaged patches)")
    for layer, part in (
        (r"(norm1|layernorm_before)", "norms without a bias (RMSNorm, or LayerNorm without one)"),
        (r"(qkv|query|q_proj)", "attention without biases of queries, keys and values"),
    ):
        weights = [name for name in names if re.search(rf"\.{layer}\.weight$", name)]
        biases = [name for name in names if re.search(rf"\.{layer}\.bias$", name)]
        if weights and not biases:
            found.append(f"{part}: {weights[0]}")
    if found:
        raise UserError(f"{path} is a ViT that is not supported; it has {'; '.join(found)}")


# ---- size


def choose_table(
    tables: Mapping[str, Sequence[Rule]], kind: str, arrays: Mapping[str, object]
) -> Sequence[Rule]:
    """The kind's table; of Hugging Face's tables the one with most names of the file."""
    if kind != "hf":
        return tables[kind]

    def count_known(table: Sequence[Rule]) -> int:
        return sum(find_rule(table, name) is not None for name in arrays)

    return max((tables[name] for name in HUGGINGFACE_NAMES), key=count_known)


def infer_model_settings(
    arrays: LazyArrays, table: Sequence[Rule], path: pathlib.Path, *, with_decoder: bool
) -> ModelSettings:
    """Finds size, image side and patch side by the shapes; heads are those of the size.

    Raises:
      UserError: the shapes contradict each other, or no known size has them.
    """
    rules = {rule.path: rule for rule in table if rule.path}

    def shape(place: str) -> tuple[int, ...]:
        rule = rules[place]
        if rule.name not in arrays:
            raise UserError(f"{path} does not fit; missing: {rule.name}")
        array = arrays[rule.name]
        try:
            return rule.transform.to_ours(array).shape
        except (ValueError, IndexError):
            raise UserError(f"{path} does not fit; misshaped: {rule.name} {array.shape}") from None

    def depth(place: str) -> int:
        numbers = (rules[f"{place}/blocks/expand/kernel"].block(name) for name in arrays)
        return 1 + max((number for number in numbers if number is not None), default=-1)

    pixels, width = shape("embedding/kernel")
    tokens = shape("positions")[0]
    patch, grid = round((pixels / 3) ** 0.5), round((tokens - 1) ** 0.5)
    if round(tokens**0.5) ** 2 == tokens:
        raise UserError(
            f"{path} is a ViT that is not supported; its {tokens} positions are those of patches, "
            "and none is the class token's (no_embed_class)"
        )
    if 3 * patch**2 != pixels or 1 + grid**2 != tokens:
        raise UserError(
            f"{path} does not fit: patches of {pixels} numbers and {tokens} positions are not "
            "three colours of a square patch, and a class token with a square grid"
        )
    found = {"width": width, "depth": depth("encoder" if with_decoder else "transformer")}
    if with_decoder:
        found["decoder_width"] = shape("decoder_embedding/bias")[0]
        found["decoder_depth"] = depth("decoder")
    return ModelSettings(_find_size(found, path), image_size=grid * patch, patch_size=patch)


def _find_size(found: Mapping[str, int], path: pathlib.Path) -> str:
    for name, size in SIZES.items():
        if all(getattr(size, field) == value for field, value in found.items()):
            return name
    known = "; ".join(
        f"{name} " + " x ".join(str(getattr(size, field)) for field in found)
        for name, size in SIZES.items()
    )
    shape = ", ".join(f"{field.replace('_', ' ')} {value}" for field, value in found.items())
    raise UserError(f"{path} is of no size known here: {shape}; known: {known}")
