"""Networks that are near to a ViT or a MAE and are not read, told by the names of their arrays."""

import pathlib
import re
from collections.abc import Iterable

from rffr_jax.errors import UserError

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
"""What is not computed here, by a pattern of its arrays' names."""

NETWORKS = {
    r"^conv_proj\.weight$": "a ViT of torchvision; timm has it under names that are read",
    r"vision_model\.embeddings\.": "CLIP or SigLIP of transformers",
    r"^visual\.": "CLIP of OpenAI",
    r"embeddings\.patch_embeddings\.weight$": "DINOv3 of transformers",
    r"^params/": "a ViT of big_vision; those of Google's vision_transformer are read",
    r"(layers|stages)\.\d+\.blocks\.\d+\.": "a network of stages (Swin, ConvNeXt)",
    r"^(layer[1-4]\.\d+\.conv1|conv1)\.": "a ResNet",
}
"""Networks under names that no table has, by a pattern of one name."""


def refuse_unknown(path: pathlib.Path, names: Iterable[str]):
    """Raises: UserError, always: what the file is, as far as its names tell."""
    names = list(names)
    first = ", ".join(names[:3])
    for pattern, network in NETWORKS.items():
        if any(re.search(pattern, name) for name in names):
            raise UserError(
                f"{path} is no ViT or MAE known here: by its names it is {network}; its first "
                f"names are {first}"
            )
    raise UserError(f"{path} is no ViT or MAE known here; its first names are {first}")


def refuse_unsupported(path: pathlib.Path, names: Iterable[str]):
    """Raises: UserError for a ViT with parts that are not computed here; all of them in one line.

    Args:
      names: of the network's arrays, without a prefix.
    """
    names = list(names)
    found = []
    for pattern, part in PARTS.items():
        with_it = [name for name in names if re.search(pattern, name)]
        if with_it:
            found.append(f"{part}: {with_it[0]}")
    if not any(re.search(r"(cls_token|(^|/)cls)$", name) for name in names):
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
