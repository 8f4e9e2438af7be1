"""AdamW with its schedule; weight decay for matrices only."""

import jax
import optax
from jaxtyping import PyTree

from rffr_jax.config import Config
from rffr_jax.errors import UserError


def learning_rate_schedule(config: Config, steps: int) -> optax.Schedule:
    """Linear warm-up over `warmup_steps`, then `constant`, or half a `cosine` down to 0.

    Raises:
      UserError: unknown schedule, or a warm-up that is not shorter than the run.
    """
    if config.schedule not in ("cosine", "constant"):
        raise UserError(
            f"optimizer.schedule={config.schedule!r} is not known; choose cosine or constant"
        )
    if not 0 <= config.warmup_steps < steps:
        raise UserError(
            f"optimizer.warmup_steps={config.warmup_steps} must lie between 0 and "
            f"steps - 1 = {steps - 1}"
        )
    if config.schedule == "constant":
        if not config.warmup_steps:
            return optax.constant_schedule(config.learning_rate)
        return optax.warmup_constant_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup_steps else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=steps,
    )


def decay_mask(parameters: PyTree) -> PyTree:
    """True for the kernels of linear layers; biases, norms, tokens and positions do not decay."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: getattr(path[-1], "key", None) == "kernel", parameters
    )


def make_optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter, ICLR 2019) from `config.optimizer`."""
    return optax.adamw(
        learning_rate_schedule(config, steps),
        b1=config.b1,
        b2=config.b2,
        weight_decay=config.weight_decay,
        mask=decay_mask,
    )
