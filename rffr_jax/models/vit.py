"""Vision Transformer over any subset of an image's patches (Dosovitskiy et al., ICLR 2021)."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from rffr_jax.models.layers import Transformer, layer_norm, linear
from rffr_jax.models.patch_embedding import ConvolutionStem, LogDCT
from rffr_jax.models.sizes import ModelSettings


class ViT(nnx.Module):
    """Patch embedding, learned positions, a class token, transformer blocks, final norm.

    Args:
      additions: to the linear embedding of a patch: `conv`, `logdct`.
      remat: of the transformer.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        additions: Sequence[str] = (),
        dtype: DTypeLike,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        size = settings.shape
        self.embedding = linear(3 * settings.patch_size**2, size.width, dtype, rngs)
        parts = {"conv": ConvolutionStem, "logdct": LogDCT}
        self.additions = nnx.Dict(
            {name: parts[name](settings, dtype=dtype, rngs=rngs) for name in additions}
        )
        normal = nnx.initializers.normal(0.02)
        self.class_token = nnx.Param(normal(rngs.params(), (size.width,)))
        self.positions = nnx.Param(normal(rngs.params(), (1 + settings.grid**2, size.width)))
        self.transformer = Transformer(
            size.depth, size.width, size.heads, dtype=dtype, remat=remat, rngs=rngs
        )
        self.norm = layer_norm(size.width, jnp.float32, rngs)

    def __call__(
        self,
        patches: Float[Array, "batch chosen pixels"],
        indices: Int[Array, "batch chosen"] | Int[Array, " chosen"],
        lengths: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch width"]:
        """The class token's feature, float32.

        Args:
          patches: pixels of the chosen patches, normalised as the weights expect.
          indices: the place of each patch on the grid, for its position embedding.
          lengths: number of patches of each image; the rest is padding. None: all of them.
        """
        return self.norm(self._transformed(patches, indices, lengths)[:, 0])

    def tokens(
        self,
        patches: Float[Array, "batch chosen pixels"],
        indices: Int[Array, "batch chosen"] | Int[Array, " chosen"],
        lengths: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch tokens width"]:
        """The features of the class token and, behind it, of each patch; float32."""
        return self.norm(self._transformed(patches, indices, lengths))

    def class_attention(
        self,
        patches: Float[Array, "batch chosen pixels"],
        indices: Int[Array, "batch chosen"] | Int[Array, " chosen"],
    ) -> Float[Array, "batch heads chosen"]:
        """How much the class token attends to each patch in the last block, in each head.

        In [0, 1]; the rest to a sum of 1 is the attention to the class token itself.
        """
        return self.transformer.class_attention(self.embed(patches, indices))[..., 1:]

    def _transformed(self, patches: Array, indices: Array, lengths: Array | None) -> Array:
        tokens = None if lengths is None else 1 + lengths
        return self.transformer(self.embed(patches, indices), lengths=tokens)

    def embed(
        self,
        patches: Float[Array, "batch chosen pixels"],
        indices: Int[Array, "batch chosen"] | Int[Array, " chosen"],
    ) -> Float[Array, "batch tokens width"]:
        """The class token and the patches, with their positions."""
        positions = self.positions[...]
        first = (self.class_token[...] + positions[0])[None, None]
        first = jnp.broadcast_to(first, (len(patches), 1, first.shape[-1]))
        x = self.embedding(patches) + jnp.take(positions[1:], indices, axis=0)
        for name in self.additions:
            x = x + self.additions[name](patches)
        return jnp.concatenate([first.astype(x.dtype), x], axis=1)
