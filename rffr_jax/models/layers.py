"""Parts that every model here shares: patches, positions, transformer blocks.

Parameters are float32; `dtype` is what matrices are multiplied in. Norms and softmax are taken
in float32 whatever the compute type.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

from rffr_jax.models.attention import attention

NORM_EPSILON = 1e-6


def patchify(
    images: Float[Array, "batch size size 3"], patch: int
) -> Float[Array, "batch patches pixels"]:
    """Non-overlapping patch x patch squares, row by row; pixels in (row, column, channel) order."""
    batch, size = images.shape[:2]
    grid = size // patch
    squares = images.reshape(batch, grid, patch, grid, patch, 3).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(batch, grid * grid, patch * patch * 3)


def unpatchify(
    patches: Float[Array, "batch patches pixels"], patch: int
) -> Float[Array, "batch size size 3"]:
    """The inverse of `patchify`."""
    batch, count = patches.shape[:2]
    grid = round(count**0.5)
    squares = patches.reshape(batch, grid, grid, patch, patch, 3).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(batch, grid * patch, grid * patch, 3)


def take_patches(
    tokens: Float[Array, "*batch patches width"],
    indices: Int[Array, "batch chosen"] | Int[Array, " chosen"],
) -> Float[Array, "*batch chosen width"]:
    """The chosen tokens of every image; one list for all images, or one for each.

    Both gathers stay inside an image, so that a batch split over devices is not collected.
    """
    if indices.ndim == 1:
        return jnp.take(tokens, indices, axis=-2)
    return jnp.take_along_axis(tokens, indices[:, :, None], axis=1)


@functools.cache
def sincos_positions(grid: int, width: int) -> Float[np.ndarray, "patches width"]:
    """Fixed 2-D sine-cosine position embedding, float32, as in MAE (He et al., CVPR 2022).

    The first half of the channels encodes the column, the second the row; each half holds the
    sines and then the cosines of position / 10000**(4 i / width).
    """
    frequency = 10000.0 ** (-np.arange(width // 4) / (width / 4))
    angles = np.arange(grid)[:, None] * frequency
    axis = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    columns = np.tile(axis, (grid, 1))
    rows = np.repeat(axis, grid, axis=0)
    return np.concatenate([columns, rows], axis=1).astype(np.float32)


def linear(
    inputs: int,
    outputs: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
    precision: jax.lax.Precision | None = None,
) -> nnx.Linear:
    """A linear layer with Xavier-uniform weights, as in the MAE's published code.

    Args:
      precision: of its product; None is TF32 for float32 on a GPU.
    """
    return nnx.Linear(
        inputs,
        outputs,
        dtype=dtype,
        precision=precision,
        kernel_init=nnx.initializers.xavier_uniform(),
        rngs=rngs,
    )


def layer_norm(
    width: int, dtype: DTypeLike, rngs: nnx.Rngs, epsilon: float = NORM_EPSILON
) -> nnx.LayerNorm:
    """A LayerNorm with epsilon 1e-6, or another."""
    return nnx.LayerNorm(width, epsilon=epsilon, dtype=dtype, rngs=rngs)


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x sigmoid(1.702 x), the approximate GELU of CLIP (Radford et al., ICML 2021)."""
    return x * jax.nn.sigmoid(1.702 * x)


ACTIVATIONS = {"gelu": functools.partial(nnx.gelu, approximate=False), "quick_gelu": quick_gelu}


class Block(nnx.Module):
    """Pre-norm transformer block: self-attention, then an MLP four times as wide.

    Args:
      layer_scale: whether each channel of what is added is scaled (CaiT; Touvron et al., ICCV
        2021).
      activation: of the MLP, a name of `ACTIVATIONS`.
      epsilon: of the norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        layer_scale: bool = False,
        activation: str = "gelu",
        epsilon: float = NORM_EPSILON,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.heads, self.activation, self.dtype = heads, activation, dtype
        self.attention_norm = layer_norm(width, dtype, rngs, epsilon)
        self.qkv = linear(width, 3 * width, dtype, rngs)
        self.projection = linear(width, width, dtype, rngs)
        self.mlp_norm = layer_norm(width, dtype, rngs, epsilon)
        self.expand = linear(width, 4 * width, dtype, rngs)
        self.contract = linear(4 * width, width, dtype, rngs)
        self.attention_scale = nnx.Param(jnp.ones(width)) if layer_scale else None
        self.mlp_scale = nnx.Param(jnp.ones(width)) if layer_scale else None

    def __call__(
        self,
        x: Float[Array, "*batch tokens width"],
        queries: int | None = None,
        lengths: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "*batch queries width"]:
        """All tokens attend to all.

        Args:
          queries: compute only the last so many tokens.
          lengths: of each sequence; later tokens are padding, to which no token attends.
        """
        normed = self.attention_norm(x)
        if queries is None:
            query, key, value = jnp.split(self.qkv(normed), 3, axis=-1)
        else:
            x = x[..., -queries:, :]
            query, key, value = self._pruned_qkv(normed, queries)
        query, key, value = (self._split_heads(part) for part in (query, key, value))
        attended = attention(query, key, value, lengths)
        x = x + self._scaled(self.projection(attended.reshape(x.shape)), self.attention_scale)
        hidden = ACTIVATIONS[self.activation](self.expand(self.mlp_norm(x)))
        return x + self._scaled(self.contract(hidden), self.mlp_scale)

    def class_attention(
        self, x: Float[Array, "*batch tokens width"]
    ) -> Float[Array, "*batch heads tokens"]:
        """How much of its attention the first token gives to each; float32, 1 in sum."""
        query, key, _ = jnp.split(self.qkv(self.attention_norm(x)), 3, axis=-1)
        query, key = self._split_heads(query[..., :1, :]), self._split_heads(key)
        logits = jnp.einsum("...qhw,...thw->...hqt", query, key, preferred_element_type=jnp.float32)
        return jax.nn.softmax(logits * query.shape[-1] ** -0.5, axis=-1)[..., 0, :]

    def mean_attention_logits(
        self, x: Float[Array, "batch tokens width"]
    ) -> Float[Array, "batch tokens tokens"]:
        """Scaled products of queries (rows) and keys before the softmax, the mean over heads."""
        query, key, _ = jnp.split(self.qkv(self.attention_norm(x)), 3, axis=-1)
        products = jnp.einsum("bqw,bkw->bqk", query, key, preferred_element_type=jnp.float32)
        return products * ((x.shape[-1] // self.heads) ** -0.5 / self.heads)

    def _pruned_qkv(self, normed: Array, queries: int) -> tuple[Array, Array, Array]:
        width = normed.shape[-1]
        kernel, bias = self.qkv.kernel[...], self.qkv.bias[...]  # pyright: ignore[reportOptionalSubscript]
        dtype = self.qkv.dtype
        kernel, bias, normed = (a.astype(dtype) for a in (kernel, bias, normed))
        query = normed[..., -queries:, :] @ kernel[:, :width] + bias[:width]
        key, value = jnp.split(normed @ kernel[:, width:] + bias[width:], 2, axis=-1)
        return query, key, value

    def _scaled(self, x: Array, scale: nnx.Param | None) -> Array:
        return x if scale is None else x * scale[...].astype(self.dtype)

    def _split_heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)


_gather_layer: contextvars.ContextVar[Callable[[PyTree], PyTree] | None] = contextvars.ContextVar(
    "gather_layer", default=None
)


@contextlib.contextmanager
def gathering_layers(gather: Callable[[PyTree], PyTree] | None) -> Iterator[None]:
    """Programs that are traced inside call `gather` on a layer's parameters before they use them.

    Gradients keep nothing of what it returns, and call it again. None changes nothing.
    """
    token = _gather_layer.set(gather)
    try:
        yield
    finally:
        _gather_layer.reset(token)


def _is_kept_for_gradients(primitive: jax.extend.core.Primitive, *_, **__) -> bool:
    """Activations, but neither gathered parameters nor their copies in the compute type."""
    return primitive.name not in ("sharding_constraint", "convert_element_type")


def _with_gathered_parameters(block: Callable[..., Any]) -> Callable[..., Any]:
    """A function of (x, parameters, number of queries) that gathers the parameters first."""
    gather = _gather_layer.get()
    if gather is None:
        return block

    @functools.partial(
        jax.checkpoint, prevent_cse=False, static_argnums=2, policy=_is_kept_for_gradients
    )
    def gathered(x: Array, parameters: PyTree, queries: int | None) -> Any:
        return block(x, gather(parameters), queries)

    return gathered


class Transformer(nnx.Module):
    """Equal blocks one after another, their parameters stacked on a leading layer axis.

    Args:
      remat: keep only the input of every block for the gradients, and compute the rest again: a
        third more arithmetic, and far less memory.
      layer_scale, activation, epsilon: of every `Block`.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int,
        *,
        layer_scale: bool = False,
        activation: str = "gelu",
        epsilon: float = NORM_EPSILON,
        dtype: DTypeLike,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        self.dtype, self.remat = dtype, remat

        @nnx.split_rngs(splits=depth)
        @nnx.vmap
        def stacked(rngs: nnx.Rngs) -> Block:
            return Block(
                width,
                heads,
                layer_scale=layer_scale,
                activation=activation,
                epsilon=epsilon,
                dtype=dtype,
                rngs=rngs,
            )

        self.blocks = stacked(rngs)

    def __call__(
        self,
        x: Float[Array, "*batch tokens width"],
        queries: int | None = None,
        lengths: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "*batch queries width"]:
        """Runs the blocks under `lax.scan`.

        Args:
          queries: the last block computes only the last so many tokens (the others are not read).
          lengths: of each sequence; the rest is padding.
        """
        definition, layers = nnx.split(self.blocks)
        x = x.astype(self.dtype)

        def block(x: Array, parameters: PyTree, queries: int | None) -> Array:
            return nnx.merge(definition, parameters)(x, queries, lengths)

        block = _with_gathered_parameters(block)
        if self.remat:
            block = jax.checkpoint(block, prevent_cse=False, static_argnums=2)

        def layer(x: Array, parameters: PyTree) -> tuple[Array, None]:
            return block(x, parameters, None), None

        if queries is None:
            return jax.lax.scan(layer, x, layers)[0]
        x = jax.lax.scan(layer, x, jax.tree.map(lambda a: a[:-1], layers))[0]
        return block(x, jax.tree.map(lambda a: a[-1], layers), queries)

    def class_attention(
        self, x: Float[Array, "*batch tokens width"]
    ) -> Float[Array, "*batch heads tokens"]:
        """How much the first token attends to each in the last block, in each head."""
        definition, layers = nnx.split(self.blocks)

        def layer(x: Array, parameters: PyTree) -> tuple[Array, None]:
            return nnx.merge(definition, parameters)(x), None

        x = x.astype(self.dtype)
        x = jax.lax.scan(layer, x, jax.tree.map(lambda a: a[:-1], layers))[0]
        return nnx.merge(definition, jax.tree.map(lambda a: a[-1], layers)).class_attention(x)

    def through(
        self, x: Float[Array, "batch tokens width"], first: int, last: int
    ) -> Float[Array, "batch tokens width"]:
        """The blocks from `first`, counted from 0, up to but not including `last`."""
        return self._observed(x, first, last, lambda block, x: ())[0]

    def through_with_logits(
        self, x: Float[Array, "batch tokens width"], first: int, last: int
    ) -> tuple[Float[Array, "batch tokens width"], Float[Array, "batch tokens tokens"]]:
        """As `through`, with the mean of the blocks' `mean_attention_logits`, float32."""
        x, logits = self._observed(x, first, last, lambda block, x: block.mean_attention_logits(x))
        return x, jnp.mean(logits, axis=0)

    def _observed(
        self, x: Array, first: int, last: int, observe: Callable[[Block, Array], Any]
    ) -> tuple[Array, Any]:
        definition, layers = nnx.split(self.blocks)

        def layer(x: Array, parameters: PyTree, queries: None) -> tuple[Array, Any]:
            block = nnx.merge(definition, parameters)
            return block(x, queries), observe(block, x)

        gathered = _with_gathered_parameters(layer)
        chosen = jax.tree.map(lambda a: a[first:last], layers)
        return jax.lax.scan(lambda x, p: gathered(x, p, None), x.astype(self.dtype), chosen)
