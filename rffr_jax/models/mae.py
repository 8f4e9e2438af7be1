"""Masked autoencoder (He et al., CVPR 2022): the model that learns the look of real faces."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

from rffr_jax.models.layers import (
    Transformer,
    layer_norm,
    linear,
    patchify,
    sincos_positions,
    take_patches,
)
from rffr_jax.models.sizes import ModelSettings

Visible = Int[Array, "batch visible"] | Int[Array, " visible"]
Hidden = Int[Array, "batch hidden"] | Int[Array, " hidden"]


class MAE(nnx.Module):
    """Encodes visible patches, decodes hidden ones to pixels.

    Input and output pixels are in [0, 1] with no further normalisation. Position embeddings are
    fixed, so tokens need no order: hidden patches follow the visible ones, and the last decoder
    block and the prediction compute only them.

    Args:
      remat: of both transformers.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        dtype: DTypeLike,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        size = settings.shape
        self.size, self.grid, self.patch, self.dtype = (
            size,
            settings.grid,
            settings.patch_size,
            dtype,
        )
        pixels = 3 * settings.patch_size**2
        normal = nnx.initializers.normal(0.02)
        self.embedding = linear(pixels, size.width, dtype, rngs)
        self.class_token = nnx.Param(normal(rngs.params(), (size.width,)))
        self.encoder = Transformer(
            size.depth, size.width, size.heads, dtype=dtype, remat=remat, rngs=rngs
        )
        self.encoder_norm = layer_norm(size.width, dtype, rngs)
        self.decoder_embedding = linear(size.width, size.decoder_width, dtype, rngs)
        self.mask_token = nnx.Param(normal(rngs.params(), (size.decoder_width,)))
        self.decoder = Transformer(
            size.decoder_depth,
            size.decoder_width,
            size.decoder_heads,
            dtype=dtype,
            remat=remat,
            rngs=rngs,
        )
        self.decoder_norm = layer_norm(size.decoder_width, jnp.float32, rngs)
        self.prediction = linear(
            *(size.decoder_width, pixels, jnp.float32, rngs),
            # Eight bits of a pixel times alpha need more than TF32's ten bits.
            precision=jax.lax.Precision.HIGHEST,
        )

    def embed(self, images: Float[Array, "batch size size 3"]) -> Float[Array, "batch patches w"]:
        """Patch embedding with positions of whole images in [0, 1]."""
        positions = sincos_positions(self.grid, self.size.width)
        return self.embedding(patchify(images, self.patch)) + positions.astype(self.dtype)

    def encode(
        self, tokens: Float[Array, "*batch patches w"], visible: Visible
    ) -> Float[Array, "*batch tokens w"]:
        """Features of the class token and the visible patches, of one image or of several."""
        seen = take_patches(tokens, visible)
        first = jnp.broadcast_to(self.class_token[...], (*seen.shape[:-2], 1, self.size.width))
        x = jnp.concatenate([first.astype(seen.dtype), seen], axis=-2)
        return self.encoder_norm(self.encoder(x))

    def decode(
        self, features: Float[Array, "*batch tokens w"], visible: Visible, hidden: Hidden
    ) -> Float[Array, "*batch hidden pixels"]:
        """Pixels of the hidden patches, float32, in [0, 1] up to the model's error."""
        positions = jnp.asarray(sincos_positions(self.grid, self.size.decoder_width), self.dtype)
        embedded = self.decoder_embedding(features)
        first, seen = jnp.split(embedded, [1], axis=-2)
        seen = seen + jnp.take(positions, visible, axis=0)
        unseen = self.mask_token[...].astype(self.dtype) + jnp.take(positions, hidden, axis=0)
        unseen = jnp.broadcast_to(unseen, (*features.shape[:-2], *unseen.shape[-2:]))
        x = jnp.concatenate([first, seen, unseen], axis=-2)
        return self.prediction(self.decoder_norm(self.decoder(x, queries=hidden.shape[-1])))

    def __call__(
        self, images: Float[Array, "batch size size 3"], visible: Visible, hidden: Hidden
    ) -> Float[Array, "batch hidden pixels"]:
        """Predicted pixels (float32) of the hidden patches of images in [0, 1]."""
        return self.decode(self.encode(self.embed(images), visible), visible, hidden)


def in_compute_type(parameters: PyTree, dtype: DTypeLike) -> PyTree:
    """Parameters of a frozen MAE with the kernels in the type that they are multiplied in.

    A MAE of float32 casts the same ones at every use, so its results are the same bit for bit.
    """

    def held(path, leaf: Array) -> Array:
        multiplied = path[-1].key == "kernel" and path[0].key != "prediction"
        return leaf.astype(dtype) if multiplied else leaf

    return jax.tree_util.tree_map_with_path(held, parameters)
