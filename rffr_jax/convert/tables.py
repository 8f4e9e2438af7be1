"""Tables of the names of a ViT's or a MAE's arrays in other projects.

The tables of a MAE include its fixed positions, `positions` and `decoder_positions`: other projects
save them, here they are computed.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from rffr_jax.convert.rules import (
    CONVOLUTION,
    FLAX_CONVOLUTION,
    FROM_HEADS,
    HEADS,
    ONE_BEFORE,
    SAME,
    TO_HEADS,
    TRANSPOSED,
    VECTOR,
    Rule,
    Transform,
)
from rffr_jax.models.layers import sincos_positions
from rffr_jax.models.sizes import ModelSettings

Table = list[Rule]


def timm_blocks(name: str, path: str) -> Table:
    """The transformer blocks of timm's `VisionTransformer`."""
    block, ours = f"{name}.{{n}}", f"{path}/blocks"
    return [
        *pytorch_norm(f"{block}.norm1", f"{ours}/attention_norm"),
        *pytorch_linear(f"{block}.attn.qkv", f"{ours}/qkv"),
        *pytorch_linear(f"{block}.attn.proj", f"{ours}/projection"),
        *pytorch_norm(f"{block}.norm2", f"{ours}/mlp_norm"),
        *pytorch_linear(f"{block}.mlp.fc1", f"{ours}/expand"),
        *pytorch_linear(f"{block}.mlp.fc2", f"{ours}/contract"),
    ]


def _huggingface_blocks(block: str, path: str, names: "HuggingFaceNames") -> Table:
    block, ours = f"{block}.{{n}}", f"{path}/blocks"
    return [
        *pytorch_norm(f"{block}.layernorm_before", f"{ours}/attention_norm"),
        *(
            rule
            for part, one in enumerate((names.query, names.key, names.value))
            for rule in pytorch_linear(f"{block}.{one}", f"{ours}/qkv", part=part)
        ),
        *pytorch_linear(f"{block}.{names.projection}", f"{ours}/projection"),
        *pytorch_norm(f"{block}.layernorm_after", f"{ours}/mlp_norm"),
        *pytorch_linear(f"{block}.{names.expand}", f"{ours}/expand"),
        *pytorch_linear(f"{block}.{names.contract}", f"{ours}/contract"),
    ]


def _google_blocks(block: str, ours: str) -> Table:
    attention = f"{block}/MultiHeadDotProductAttention_1"
    return [
        *_flax_pair(f"{block}/LayerNorm_0", f"{ours}/attention_norm", "scale"),
        *(
            Rule(f"{attention}/{name}/{leaf}", f"{ours}/qkv/{leaf}", transform, part)
            for part, name in enumerate(("query", "key", "value"))
            for leaf, transform in (("kernel", TO_HEADS), ("bias", HEADS))
        ),
        Rule(f"{attention}/out/kernel", f"{ours}/projection/kernel", FROM_HEADS),
        Rule(f"{attention}/out/bias", f"{ours}/projection/bias"),
        *_flax_pair(f"{block}/LayerNorm_2", f"{ours}/mlp_norm", "scale"),
        *_flax_pair(f"{block}/MlpBlock_3/Dense_0", f"{ours}/expand", "kernel"),
        *_flax_pair(f"{block}/MlpBlock_3/Dense_1", f"{ours}/contract", "kernel"),
    ]


def pytorch_linear(
    name: str, path: str, kernel: Transform = TRANSPOSED, part: int | None = None
) -> Table:
    """A linear layer of PyTorch, or one part of three of ours."""
    return [
        Rule(f"{name}.weight", f"{path}/kernel", kernel, part),
        Rule(f"{name}.bias", f"{path}/bias", SAME, part),
    ]


def pytorch_norm(name: str, path: str) -> Table:
    """A layer norm of PyTorch."""
    return [Rule(f"{name}.weight", f"{path}/scale"), Rule(f"{name}.bias", f"{path}/bias")]


def _flax_pair(name: str, path: str, first: str) -> Table:
    return [Rule(f"{name}/{first}", f"{path}/{first}"), Rule(f"{name}/bias", f"{path}/bias")]


TIMM_VIT = [
    Rule("cls_token", "class_token", VECTOR),
    Rule("pos_embed", "positions", ONE_BEFORE),
    *pytorch_linear("patch_embed.proj", "embedding", CONVOLUTION),
    *timm_blocks("blocks", "transformer"),
    *pytorch_norm("norm", "norm"),
    Rule("head.*"),
    Rule("pre_logits.*"),
]
"""timm's `VisionTransformer`, DeiT, and the encoder of facebookresearch's MAE."""


@dataclasses.dataclass(frozen=True)
class HuggingFaceNames:
    """The names of a ViT's blocks and their parts in a version of transformers."""

    encoder: str
    decoder: str
    query: str
    key: str
    value: str
    projection: str
    expand: str
    contract: str


_IN_FILES = HuggingFaceNames(
    encoder="encoder.layer",
    decoder="decoder_layers",
    query="attention.attention.query",
    key="attention.attention.key",
    value="attention.attention.value",
    projection="attention.output.dense",
    expand="intermediate.dense",
    contract="output.dense",
)
HUGGINGFACE_NAMES = {
    "hf": HuggingFaceNames(
        encoder="layers",
        decoder="decoder_layers",
        query="attention.q_proj",
        key="attention.k_proj",
        value="attention.v_proj",
        projection="attention.o_proj",
        expand="mlp.fc1",
        contract="mlp.fc2",
    ),
    "hf4": _IN_FILES,
    "hf5_saved": dataclasses.replace(_IN_FILES, decoder="decoder_encoder.layer"),
}
"""`hf`: transformers 5 in memory; `hf4`: transformers 4, and the hub's files; `hf5_saved`: a MAE
that `save_pretrained` of transformers 5 wrote."""


def huggingface_vit(names: HuggingFaceNames) -> Table:
    """transformers' `ViTModel`."""
    return [
        Rule("embeddings.cls_token", "class_token", VECTOR),
        Rule("embeddings.position_embeddings", "positions", ONE_BEFORE),
        *pytorch_linear("embeddings.patch_embeddings.projection", "embedding", CONVOLUTION),
        *_huggingface_blocks(names.encoder, "transformer", names),
        *pytorch_norm("layernorm", "norm"),
        Rule("pooler.*"),
        Rule("classifier.*"),
    ]


def huggingface_mae(names: HuggingFaceNames) -> Table:
    """transformers' `ViTMAEForPreTraining`."""
    return [
        Rule("vit.embeddings.cls_token", "class_token", VECTOR),
        Rule("vit.embeddings.position_embeddings", "positions", ONE_BEFORE),
        *pytorch_linear("vit.embeddings.patch_embeddings.projection", "embedding", CONVOLUTION),
        *_huggingface_blocks(f"vit.{names.encoder}", "encoder", names),
        *pytorch_norm("vit.layernorm", "encoder_norm"),
        *pytorch_linear("decoder.decoder_embed", "decoder_embedding"),
        Rule("decoder.mask_token", "mask_token", VECTOR),
        Rule("decoder.decoder_pos_embed", "decoder_positions", ONE_BEFORE),
        *_huggingface_blocks(f"decoder.{names.decoder}", "decoder", names),
        *pytorch_norm("decoder.decoder_norm", "decoder_norm"),
        *pytorch_linear("decoder.decoder_pred", "prediction"),
    ]


GOOGLE_VIT = [
    Rule("cls", "class_token", VECTOR),
    Rule("Transformer/posembed_input/pos_embedding", "positions", ONE_BEFORE),
    Rule("embedding/kernel", "embedding/kernel", FLAX_CONVOLUTION),
    Rule("embedding/bias", "embedding/bias"),
    *_google_blocks("Transformer/encoderblock_{n}", "transformer/blocks"),
    *_flax_pair("Transformer/encoder_norm", "norm", "scale"),
    Rule("head/*"),
    Rule("pre_logits/*"),
]
"""The `.npz` files of google-research/vision_transformer."""

FACEBOOK_MAE = [
    Rule("cls_token", "class_token", VECTOR),
    Rule("pos_embed", "positions", ONE_BEFORE),
    *pytorch_linear("patch_embed.proj", "embedding", CONVOLUTION),
    *timm_blocks("blocks", "encoder"),
    *pytorch_norm("norm", "encoder_norm"),
    *pytorch_linear("decoder_embed", "decoder_embedding"),
    Rule("mask_token", "mask_token", VECTOR),
    Rule("decoder_pos_embed", "decoder_positions", ONE_BEFORE),
    *timm_blocks("decoder_blocks", "decoder"),
    *pytorch_norm("decoder_norm", "decoder_norm"),
    *pytorch_linear("decoder_pred", "prediction"),
]
"""facebookresearch/mae's `MaskedAutoencoderViT`; the RFFR authors' MAE has the same names."""

VIT_TABLES: Mapping[str, Table] = {
    "timm": TIMM_VIT,
    "google": GOOGLE_VIT,
    **{name: huggingface_vit(names) for name, names in HUGGINGFACE_NAMES.items()},
}
MAE_TABLES: Mapping[str, Table] = {
    "mae": FACEBOOK_MAE,
    "rffr": FACEBOOK_MAE,
    **{name: huggingface_mae(names) for name, names in HUGGINGFACE_NAMES.items()},
}


def fixed_positions(settings: ModelSettings) -> dict[str, np.ndarray]:
    """The fixed positions in other projects' files of a MAE; the class token's, 0, comes first."""
    size = settings.shape
    return {
        name: np.pad(sincos_positions(settings.grid, width), ((1, 0), (0, 0)))
        for name, width in (("positions", size.width), ("decoder_positions", size.decoder_width))
    }
