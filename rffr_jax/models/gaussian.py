"""A multivariate Gaussian of features, fitted anew to those of each window of a training."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

JITTER = 1e-5
"""Of the mean variance of a value; added to every variance, for the Cholesky factor in float32."""


class RunningGaussian(nnx.Module):
    """Mean and covariance of features, in variables that follow the batch instead of a gradient.

    `add` counts features; `fit` replaces the Gaussian by that of those counted since the last one.
    The covariance is shrunk as Ledoit and Wolf (Journal of Multivariate Analysis, 2004) say; the
    sum with `JITTER` times its mean variance is what is inverted. So a singular one, such as of
    features behind a layer normalisation, whose sum is 0, has a finite inverse, too. Sums are of
    differences y from the mean that is in use, which loses fewer digits. All is float32.

    Args:
      width: values of a feature.
    """

    def __init__(self, width: int):
        def zeros(*shape: int) -> nnx.BatchStat:
            return nnx.BatchStat(jnp.zeros(shape))

        self.count, self.total, self.outer = zeros(), zeros(width), zeros(width, width)
        self.cubic = zeros(width)  # the sum of |y|^2 y
        self.quartic = zeros()  # the sum of |y|^4
        self.mean = zeros(width)
        self.whitening = zeros(width, width)  # the inverse of the covariance's Cholesky factor

    @property
    def is_fitted(self) -> Bool[Array, ""]:
        return self.whitening[0, 0] > 0

    def add(self, features: Float[Array, "samples width"], counts: Bool[Array, " samples"]):
        """Counts the features whose entry of `counts` is true."""
        y = jnp.where(counts[:, None], features.astype(jnp.float32) - self.mean[...], 0.0)
        squares = jnp.sum(y**2, axis=1)
        self.count[...] += jnp.sum(counts.astype(jnp.float32))
        self.total[...] += jnp.sum(y, axis=0)
        self.outer[...] += jnp.matmul(y.T, y, precision="highest")
        self.cubic[...] += jnp.matmul(squares, y, precision="highest")
        self.quartic[...] += jnp.sum(squares**2)

    def fit(self, now: Bool[Array, ""]):
        """If `now` holds: fits to what was counted, and counts from 0. Fewer than two features
        change nothing. Features without a finite inverse, such as equal ones, leave the Gaussian
        as it was."""
        old = tuple(jax.lax.stop_gradient(variable[...]) for variable in self._variables())
        new = jax.lax.cond(now & (self.count[...] > 1), _fitted, lambda *old: old, *old)
        for variable, value in zip(self._variables(), new, strict=True):
            variable[...] = value

    def distance(self, features: Float[Array, "... width"]) -> Float[Array, "..."]:
        """Mahalanobis distance from the mean; 0 before the first fit."""
        y = features.astype(jnp.float32) - self.mean[...]
        return jnp.linalg.norm(jnp.matmul(y, self.whitening[...].T, precision="highest"), axis=-1)

    def _variables(self) -> tuple[nnx.BatchStat, ...]:
        sums = (self.count, self.total, self.outer, self.cubic, self.quartic)
        return (*sums, self.mean, self.whitening)


def _fitted(
    count: Array,
    total: Array,
    outer: Array,
    cubic: Array,
    quartic: Array,
    mean: Array,
    whitening: Array,
) -> tuple[Array, ...]:
    """Sums of 0, and the mean and the whitening of the shrunk covariance; the old ones where the
    new whitening is not finite."""
    width, shift = len(total), total / count
    covariance = outer / count - jnp.outer(shift, shift)
    length = jnp.sum(shift**2)
    fourth = (  # the sum of |z|^4, where z = y - shift
        quartic
        - 4 * shift @ cubic
        + 2 * length * jnp.trace(outer)
        + 4 * shift @ (outer @ shift)
        - 3 * count * length**2
    )
    variance = jnp.trace(covariance) / width
    scatter = jnp.sum(covariance**2)
    spread = scatter - width * variance**2
    error = (fourth / count - scatter) / count
    shrinkage = jnp.clip(error / jnp.maximum(spread, (JITTER * variance) ** 2), 0.0, 1.0)
    identity = jnp.eye(width)
    shrunk = (1 - shrinkage) * covariance + shrinkage * variance * identity
    factor = jnp.linalg.cholesky(shrunk + JITTER * variance * identity)
    new = jax.scipy.linalg.solve_triangular(factor, identity, lower=True)
    finite = jnp.isfinite(new).all()
    sums = (count, total, outer, cubic, quartic)
    return (
        *(jnp.zeros_like(each) for each in sums),
        jnp.where(finite, mean + shift, mean),
        jnp.where(finite, new, whitening),
    )
