"""Shapes of what convolutions read and give, and the rows that batch statistics are of."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Inputs = Float[Array, "batch height width inputs"]
Outputs = Float[Array, "batch new_height new_width outputs"]
Rows = Bool[Array, "batch 1 1 1"] | None


def rows_that_count(weight: Float[Array, " batch"] | None) -> Rows:
    """The rows that batch statistics are of: those of weight above 0, or all if there are none."""
    if weight is None:
        return None
    return ((weight > 0) | ~jnp.any(weight > 0))[:, None, None, None]
