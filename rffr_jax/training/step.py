"""One update of the weights, as a pure function of state and batch that is compiled once.

The state is a plain tree:

  parameters   the weights that are evaluated and saved, with running statistics of batch
               normalisation, which no gradient moves
  optimizer    Optax's state
  trained      the weights that the optimizer moves, where `parameters` are their moving average
  updates      the number of their updates, only where there is an average
  finite       whether loss and gradients have been finite so far
  totals       number of steps since the last log line, and sums over them: the parts of the loss,
               the norms of gradients and updates
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, PyTree

from rffr_jax.cluster.memory import gathers_each_layer
from rffr_jax.cluster.sharding import (
    BATCH,
    all_gather_outside_layers,
    all_gather_parameters,
    gather_layer,
)
from rffr_jax.config import Config
from rffr_jax.errors import UserError
from rffr_jax.models.layers import gathering_layers
from rffr_jax.models.transfer import replace_leaves

State = dict[str, Any]
RowLosses = Mapping[str, Float[Array, " batch"]]
Losses = Callable[[PyTree, PyTree, Mapping[str, Array]], tuple[RowLosses, PyTree]]


def check_micro_batches(config: Config, mesh: Mesh | AbstractMesh):
    """Raises: UserError if a batch does not divide over devices and micro-batches."""
    parts = mesh.size * config.micro_batches
    if config.batch_size % parts:
        raise UserError(
            f"batch_size={config.batch_size} does not divide into micro_batches="
            f"{config.micro_batches} on each of {mesh.size} devices; take a multiple of {parts}"
        )


def init_training_state(
    optimizer: optax.GradientTransformation,
    ema_decay: float,
    parameters: PyTree,
    loss_names: Sequence[str] = ("loss",),
) -> State:
    """The state of a new run without its `parameters`."""
    state = {"optimizer": optimizer.init(parameters), "finite": jnp.array(True)}
    if ema_decay:
        state |= {
            "trained": jax.tree.map(jnp.copy, parameters),
            "updates": jnp.zeros((), jnp.int32),
        }
    return {**state, "totals": init_totals(loss_names)}


def init_totals(loss_names: Sequence[str]) -> dict[str, Float[Array, ""]]:
    """The sums of an interval between two log lines, before its first step."""
    names = ("count", *loss_names, "gradient_norm", "update_norm")
    return {name: jnp.zeros(()) for name in names}


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of a tree is finite."""
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


def make_step(
    losses: Losses,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    micro_batches: int,
    ema_decay: float,
    sam_rho: float = 0.0,
) -> Callable[[State, PyTree, Mapping[str, Array]], State]:
    """The function (state, frozen, batch) -> state.

    Args:
      losses: the parts of the loss of each row, by name, from parameters, frozen arrays and the
        batch; their sum is minimised. And new values of the parameters that follow the batch
        instead of a gradient ({} if none do).
      micro_batches: parts of a batch that are computed one after another. Activations need memory
        for one part, and the update is that of the whole batch except for rounding, as long as
        the losses of a row do not depend on others; a rival whose do is refused. Batch
        normalisation sees one part at a time, and its new statistics are the mean over the parts.
      ema_decay: of the moving average of the weights; 0 means none.
      sam_rho: of sharpness-aware minimisation (Foret et al., ICLR 2021): the update's gradient is
        that at w + sam_rho * g / |g|, where g is the gradient at the weights w. Losses and what
        follows the batch are those at w. 0 means the gradient at w, in half of the time.
    """

    @functools.partial(jax.value_and_grad, has_aux=True)
    def gradients_of(parameters, frozen, batch, total):
        by_layer = mesh.shape["fsdp"] > 1 and gathers_each_layer(parameters, frozen)
        gather_all = all_gather_outside_layers if by_layer else all_gather_parameters
        gathered = gather_all(parameters, mesh), gather_all(frozen, mesh)
        gather_each = functools.partial(gather_layer, mesh=mesh) if by_layer else None
        with gathering_layers(gather_each):
            each, statistics = losses(*gathered, batch)
        parts = {name: jnp.sum(part * batch["weight"]) / total for name, part in each.items()}
        return sum(parts.values()), (parts, statistics)

    def loss_and_gradients(parameters: PyTree, frozen: PyTree, batch: Mapping[str, Array]):
        total = jnp.maximum(jnp.sum(batch["weight"]), 1.0)
        if micro_batches == 1:
            (_, aside), gradients = gradients_of(parameters, frozen, batch, total)
            return aside, gradients

        def add(sums, part):
            (_, aside), gradients = gradients_of(parameters, frozen, part, total)
            return jax.tree.map(jnp.add, sums, gradients), aside

        zeros = jax.tree.map(jnp.zeros_like, parameters)
        micro = _parts(batch, micro_batches, mesh)
        gradients, (each, statistics) = jax.lax.scan(add, zeros, micro)
        parts = jax.tree.map(lambda values: values.sum(axis=0), each)
        return (parts, jax.tree.map(lambda values: values.mean(axis=0), statistics)), gradients

    def step(state: State, frozen: PyTree, batch: Mapping[str, Array]) -> State:
        trained = state["trained"] if ema_decay else state["parameters"]
        (parts, statistics), gradients = loss_and_gradients(trained, frozen, batch)
        if sam_rho:
            reach = sam_rho / (optax.tree.norm(gradients) + 1e-12)
            steepest = jax.tree.map(lambda w, g: w + reach * g, trained, gradients)
            _, gradients = loss_and_gradients(steepest, frozen, batch)
        updates, optimizer_state = optimizer.update(gradients, state["optimizer"], trained)
        trained = replace_leaves(optax.apply_updates(trained, updates), statistics)
        measured = {
            "count": 1.0,
            **parts,
            "gradient_norm": optax.tree.norm(gradients),
            "update_norm": optax.tree.norm(updates),
        }
        new = {
            "parameters": trained,
            "optimizer": optimizer_state,
            "finite": state["finite"] & all_finite((parts, measured["gradient_norm"])),
            "totals": jax.tree.map(jnp.add, state["totals"], measured),
        }
        if ema_decay:
            rate = 1.0 - ema_decay_at(ema_decay, state["updates"])
            new["parameters"] = optax.incremental_update(trained, state["parameters"], rate)
            new |= {"trained": trained, "updates": state["updates"] + 1}
        return new

    return step


def ema_decay_at(decay: float, updates: Array) -> Float[Array, ""]:
    """The share of the old average that an update keeps: min(decay, (1 + n) / (10 + n)) after n
    updates, so that the random start is soon forgotten."""
    return jnp.minimum(decay, (1.0 + updates) / (10.0 + updates))


def _parts(batch: Mapping[str, Array], count: int, mesh: Mesh) -> dict[str, Array]:
    """A batch as `count` micro-batches on a leading axis.

    Each takes a contiguous piece of every device's rows, so that no row changes its device.
    """
    sharding = NamedSharding(mesh, PartitionSpec(None, *BATCH))

    def parts(rows: Array) -> Array:
        shape, share = rows.shape[1:], len(rows) // (mesh.size * count)
        pieces = rows.reshape(mesh.size, count, share, *shape).swapaxes(0, 1)
        pieces = pieces.reshape(count, mesh.size * share, *shape)
        return jax.lax.with_sharding_constraint(pieces, sharding)

    return {name: parts(rows) for name, rows in batch.items()}
