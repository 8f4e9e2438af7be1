"""AdamW, Adam or SGD with a schedule; weight decay for matrices only."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from rffr_jax.config import Config
from rffr_jax.errors import UserError


def learning_rate_schedule(config: Config, steps: int) -> optax.Schedule:
    """Linear warm-up over `warmup_steps`, then `constant`, half a `cosine` down to 0, or constant
    and a line down to 0 in the `last_quarter` of the run.

    With `halve_every` above 0 it is halved, too, whenever so many steps are done.

    Raises:
      UserError: unknown schedule, a negative number, or a warm-up that is not shorter than the run.
    """
    every = config.get("halve_every", 0)
    if every < 0:
        raise UserError(f"optimizer.halve_every={every} is a number of steps; 0 never halves")
    rate = _rate(config, steps)
    return (lambda step: rate(step) * 0.5 ** (step // every)) if every else rate


def _rate(config: Config, steps: int) -> optax.Schedule:
    """The schedule before it is halved."""
    if config.schedule not in ("cosine", "constant", "last_quarter"):
        raise UserError(
            f"optimizer.schedule={config.schedule!r} is not known; choose cosine, constant or "
            "last_quarter"
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
    if config.schedule == "last_quarter":
        falls = steps * 3 // 4
        if config.warmup_steps > falls:
            raise UserError(
                f"optimizer.warmup_steps={config.warmup_steps} must end before "
                f"optimizer.schedule=last_quarter begins to fall, at step {falls}"
            )
        rate = config.learning_rate
        up = optax.linear_schedule(0.0, rate, config.warmup_steps)
        down = optax.linear_schedule(rate, 0.0, steps - falls)
        if not config.warmup_steps:
            return optax.join_schedules([optax.constant_schedule(rate), down], [falls])
        constant = optax.constant_schedule(rate)
        return optax.join_schedules([up, constant, down], [config.warmup_steps, falls])
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


def backbone_mask(parameters: PyTree) -> PyTree:
    """True for a detector's branch `original`, which a pretrained backbone is."""

    def is_original(path: tuple[Any, ...], _: jax.Array) -> bool:
        return [getattr(key, "key", None) for key in path[:2]] == ["branches", "original"]

    return jax.tree_util.tree_map_with_path(is_original, parameters)


def make_optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter, ICLR 2019), Adam, or SGD with momentum `b1`, from
    `config.optimizer`.

    The weight decay of Adam and SGD is added to the gradient, as in PyTorch. With
    `backbone_learning_rate` above 0 the backbone's steps have that peak, on the same schedule.

    Raises:
      UserError: another name, rates that are not above 0, or as for `learning_rate_schedule`.
    """
    optimizer = _one_rate(config, steps)
    of_backbone = config.get("backbone_learning_rate", 0.0)
    if not of_backbone:
        return optimizer
    if of_backbone < 0 or not config.learning_rate:
        raise UserError(
            f"optimizer.backbone_learning_rate={of_backbone} and optimizer.learning_rate="
            f"{config.learning_rate} must be above 0; 0 for the first takes the second for both"
        )
    ratio = optax.scale(of_backbone / config.learning_rate)
    return optax.chain(optimizer, optax.masked(ratio, backbone_mask))


def _one_rate(config: Config, steps: int) -> optax.GradientTransformation:
    """The optimizer before the backbone has a rate of its own."""
    name, schedule = config.get("name", "adamw"), learning_rate_schedule(config, steps)
    if name not in ("adamw", "adam", "sgd"):
        raise UserError(f"optimizer.name={name!r} is not known; choose adamw, adam or sgd")
    if name == "adamw":
        return optax.adamw(
            schedule,
            b1=config.b1,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=decay_mask,
        )
    if name == "adam":
        descent = optax.adam(schedule, b1=config.b1, b2=config.b2)
    else:
        descent = optax.sgd(schedule, momentum=config.b1)
    return optax.chain(optax.add_decayed_weights(config.weight_decay, decay_mask), descent)
