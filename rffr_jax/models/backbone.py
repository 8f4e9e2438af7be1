"""Pretrained vision transformers that read whole images: DINOv2, CLIP's vision tower, plain ViTs.

DINOv2 (Oquab et al., TMLR 2024) has layer scale and, in a later version, registers (Darcet et al.,
ICLR 2024). CLIP (Radford et al., ICML 2021) has a norm before its blocks and the quick GELU.
"""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from rffr_jax.models.layers import Transformer, layer_norm, linear, patchify
from rffr_jax.models.sizes import BackboneSettings

TRAIN = ("all", "norms", "head")
"""What of a detector with a backbone is trained: all, all but the backbone outside of its norms, or
all but the backbone."""
NORMS = ("norm_before", "attention_norm", "mlp_norm", "norm")


class Backbone(nnx.Module):
    """Patch embedding, class token, learned positions, registers, transformer blocks, final norm.

    Its parameters have the names of a `ViT`'s; one without registers, layer scale and the norm
    before the blocks takes a `ViT`'s as they are.

    Args:
      remat: of the transformer.
    """

    def __init__(
        self,
        settings: BackboneSettings,
        *,
        dtype: DTypeLike,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        width, epsilon = settings.width, settings.epsilon
        self.patch_size = settings.patch_size
        pixels = 3 * settings.patch_size**2
        if settings.norm_before:
            self.embedding = nnx.Linear(pixels, width, use_bias=False, dtype=dtype, rngs=rngs)
            self.norm_before = layer_norm(width, jnp.float32, rngs, epsilon)
        else:
            self.embedding, self.norm_before = linear(pixels, width, dtype, rngs), None
        normal = nnx.initializers.normal(0.02)
        self.class_token = nnx.Param(normal(rngs.params(), (width,)))
        self.positions = nnx.Param(normal(rngs.params(), (1 + settings.grid**2, width)))
        registers = (settings.registers, width)
        self.registers = nnx.Param(normal(rngs.params(), registers)) if registers[0] else None
        self.transformer = Transformer(
            settings.depth,
            width,
            settings.heads,
            layer_scale=settings.layer_scale,
            activation=settings.activation,
            epsilon=epsilon,
            dtype=dtype,
            remat=remat,
            rngs=rngs,
        )
        self.norm = layer_norm(width, jnp.float32, rngs, epsilon)

    def __call__(self, images: Float[Array, "batch size size 3"]) -> Float[Array, "batch width"]:
        """The class token's feature, float32.

        Args:
          images: of `image_size`, normalised as the weights expect.
        """
        return self.norm(self.transformer(self.embed(images))[:, 0])

    def embed(
        self, images: Float[Array, "batch size size 3"]
    ) -> Float[Array, "batch tokens width"]:
        """The class token, the registers and the patches, as the first block reads them."""
        patches = self.embedding(patchify(images, self.patch_size))
        first = jnp.broadcast_to(self.class_token[...], (len(patches), 1, patches.shape[-1]))
        x = jnp.concatenate([first, patches], axis=1) + self.positions[...]
        if self.registers is not None:
            registers = self.registers[...]
            registers = jnp.broadcast_to(registers, (len(x), *registers.shape))
            x = jnp.concatenate([x[:, :1], registers, x[:, 1:]], axis=1)
        return x if self.norm_before is None else self.norm_before(x)


def trained_part(backbone: PyTree, train: str) -> PyTree:
    """The parameters of a `Backbone` that are trained: all, those of its norms, or {}.

    Args:
      train: one of `TRAIN`.
    """
    if train == "all":
        return backbone
    if train == "head":
        return {}
    found = {}
    for name, part in backbone.items():
        if name in NORMS:
            found[name] = part
        elif isinstance(part, dict) and (inner := trained_part(part, train)):
            found[name] = inner
    return found
