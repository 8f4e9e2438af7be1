"""What a file of weights is: its kind, its prefix and its size, told by names and shapes."""

import dataclasses
import pathlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from rffr_jax.convert.files import LazyArrays, WeightFile
from rffr_jax.convert.rules import Rule, find_rule
from rffr_jax.convert.tables import HUGGINGFACE_NAMES
from rffr_jax.convert.unsupported import refuse_unknown, refuse_unsupported
from rffr_jax.errors import UserError
from rffr_jax.models.sizes import SIZES, ModelSettings, ModelSize

WITH_DECODER = "mae_visualize_vit_base.pth"
PATCH_EMBEDDINGS = {
    "timm": "patch_embed.proj.weight",
    "hf": "embeddings.patch_embeddings.projection.weight",
    "google": "embedding/kernel",
}
DECODER_EMBEDDINGS = ("decoder_embed.weight", "decoder.decoder_embed.weight")


@dataclasses.dataclass(frozen=True)
class Network:
    """The one network of a file.

    Attributes:
      kind: by its names: `timm`, `hf`, `google`, `mae` or `rffr`.
      decodes: whether it has a MAE's decoder.
      arrays: those of the network, without the prefix.
      prefix: what stood before all of their names.
      others: names of the file that do not begin with the prefix.
    """

    kind: str
    decodes: bool
    arrays: LazyArrays
    prefix: str
    others: list[str]

    def other_groups(self) -> str:
        """The names outside the network, cut to as many parts as its prefix has, and counted."""
        parts = self.prefix.count(".")
        groups = Counter(
            ".".join(name.split(".")[:parts]) + (".*" if name.count(".") >= parts else "")
            for name in self.others
        )
        return ", ".join(f"{group} ({count})" for group, count in groups.items())


def recognise_network(file: WeightFile, prefix: str | None = None) -> Network:
    """The network of a file.

    Args:
      prefix: of the network to take, where there are several.

    Raises:
      UserError: none that is known, several, or one with parts that are not computed here.
    """
    if any(re.search(r"(^|\.)backbone_[12]\.", name) for name in file.arrays):
        raise UserError(
            f"{file.path} is a detector of the RFFR authors: their code read a patch in place of "
            "the class token, and residuals one patch to the right, so its weights mean nothing in "
            "a forward pass without those errors; convert their MAE, and train the detector"
        )
    kinds = _prefixes(file.arrays)
    if not kinds:
        refuse_unknown(file.path, file.arrays)
    prefix = _chosen_prefix(file.path, list(kinds), prefix)
    inner = [other for other in kinds if other.startswith(prefix) and other != prefix]
    names = [n for n in file.arrays if n.startswith(prefix) and not n.startswith(tuple(inner))]
    arrays = file.arrays.chosen(names).without(prefix)
    refuse_unsupported(file.path, arrays)
    kind, decodes = kinds[prefix], any(name in arrays for name in DECODER_EMBEDDINGS)
    if kind == "timm" and decodes:
        kind = "rffr" if file.wrapper == "state_dict" else "mae"
    taken = set(names)
    return Network(kind, decodes, arrays, prefix, [n for n in file.arrays if n not in taken])


def _prefixes(names: LazyArrays) -> dict[str, str]:
    """What stands before the name of every patch embedding, and the kind that has this name."""
    found = {}
    for name in names:
        for kind, embedding in PATCH_EMBEDDINGS.items():
            prefix = name.removesuffix(embedding)
            if prefix != name and (not prefix or prefix.endswith(".")):
                found[prefix.removesuffix("vit.") if kind == "hf" else prefix] = kind
    return found


def _chosen_prefix(path: pathlib.Path, prefixes: Sequence[str], asked: str | None) -> str:
    known = ", ".join(repr(prefix) for prefix in prefixes)
    if asked is not None:
        chosen = next((p for p in prefixes if p.rstrip(".") == asked.rstrip(".")), None)
        if chosen is None:
            raise UserError(f"{path} has no network under --prefix {asked!r}; there are: {known}")
        return chosen
    if len(prefixes) > 1:
        raise UserError(
            f"{path} holds {len(prefixes)} networks, under {known}; say which with --prefix"
        )
    return prefixes[0]


# ---- size


def choose_table(
    tables: Mapping[str, Sequence[Rule]], kind: str, arrays: Mapping[str, object]
) -> Sequence[Rule]:
    """The kind's table; of Hugging Face's several the one that most names of the file are in."""
    if kind != "hf":
        return tables[kind]

    def known(table: Sequence[Rule]) -> int:
        return sum(find_rule(table, name) is not None for name in arrays)

    return max((tables[name] for name in HUGGINGFACE_NAMES), key=known)


def infer_model_settings(
    arrays: LazyArrays, table: Sequence[Rule], path: pathlib.Path, *, with_decoder: bool
) -> ModelSettings:
    """The size, image and patches that a file's shapes tell; heads are the size's.

    Raises:
      UserError: shapes that do not go together, or of no size known here.
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
    return ModelSettings(_size(found, path), image_size=grid * patch, patch_size=patch)


def _size(found: Mapping[str, int], path: pathlib.Path) -> str:
    for name, size in SIZES.items():
        if all(getattr(size, field) == value for field, value in found.items()):
            return name
    known = "; ".join(f"{name} {_said(size, found)}" for name, size in SIZES.items())
    said = ", ".join(f"{field.replace('_', ' ')} {value}" for field, value in found.items())
    raise UserError(f"{path} is of no size known here: {said}; known: {known}")


def _said(size: ModelSize, found: Mapping[str, int]) -> str:
    return " x ".join(str(getattr(size, field)) for field in found)
