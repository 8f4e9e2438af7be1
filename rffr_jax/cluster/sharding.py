"""The device mesh ('data', 'fsdp') and the sharding of batches, parameters and states."""

import collections
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from rffr_jax.errors import UserError

BATCH = PartitionSpec(("data", "fsdp"))


def make_mesh(fsdp: int = 1) -> Mesh:
    """All devices as data x fsdp, both axes Auto.

    The devices of a process are neighbours and the processes are in order, so that a process has
    the rows of a batch that it reads.

    Raises:
      UserError: `fsdp` does not divide the number of devices, or processes have different numbers
        of them.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if fsdp < 1 or len(devices) % fsdp:
        raise UserError(
            f"mesh.fsdp={fsdp} does not divide the {len(devices)} devices of this run; choose "
            "a divisor"
        )
    shares = collections.Counter(device.process_index for device in devices)
    if len(set(shares.values())) > 1:
        listed = ", ".join(f"process {p} has {n}" for p, n in sorted(shares.items()))
        raise UserError(
            f"all processes need the same number of devices, and {listed}; start them alike"
        )
    grid = np.array(devices).reshape(-1, fsdp)
    return Mesh(grid, ("data", "fsdp"), axis_types=(AxisType.Auto, AxisType.Auto))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis split over all devices."""
    return NamedSharding(mesh, BATCH)


def parameter_shardings(abstract: PyTree, mesh: Mesh | AbstractMesh) -> PyTree:
    """A sharding for each leaf: the largest dimension that `fsdp` divides, else replicated.

    The leading axis of stacked layers is never split, because `lax.scan` runs over it.
    """
    size = mesh.shape["fsdp"]

    def sharding(path, leaf) -> NamedSharding:
        first = 1 if "blocks" in jax.tree_util.keystr(path) else 0
        fitting = [axis for axis in range(first, leaf.ndim) if leaf.shape[axis] % size == 0]
        spec: list[str | None] = [None] * leaf.ndim
        if size > 1 and leaf.ndim - first >= 2 and fitting:
            spec[max(fitting, key=lambda axis: leaf.shape[axis])] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(sharding, abstract)


def with_shardings(abstract: PyTree, shardings: PyTree) -> PyTree:
    """Shapes and types of `abstract` with their shardings, for a restore or a compilation."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings,
    )


def rows_of_process(batch_size: int, mesh: Mesh | AbstractMesh) -> slice:
    """The rows of a global batch that this process reads: p B / n to (p + 1) B / n.

    Raises:
      UserError: the devices do not divide the batch.
    """
    if batch_size % mesh.size:
        raise UserError(
            f"batch_size={batch_size} does not divide over {mesh.size} devices; choose a multiple"
        )
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def padded_batch_size(batch_size: int, mesh: Mesh | AbstractMesh) -> int:
    """The smallest size from `batch_size` up that the devices divide, for evaluations."""
    return -(-batch_size // mesh.size) * mesh.size


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a batch as arrays of the global batch on the mesh."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }


def init_sharded(build: Callable[[], PyTree], mesh: Mesh) -> PyTree:
    """Runs `build` under jit, so that no device and no host ever has a complete sharded array."""
    shardings = parameter_shardings(jax.eval_shape(build), mesh)
    return jax.jit(build, out_shardings=shardings)()


def all_gather_parameters(parameters: PyTree, mesh: Mesh) -> PyTree:
    """Inside a jitted function: gathers parameters, which are split between calls, on all devices.

    Without this XLA may split the work of a layer by its weights, and exchange activations.
    """
    if mesh.shape["fsdp"] == 1:
        return parameters
    return jax.lax.with_sharding_constraint(parameters, NamedSharding(mesh, PartitionSpec()))


def all_gather_outside_layers(parameters: PyTree, mesh: Mesh) -> PyTree:
    """Gathers parameters that are in no stack of layers; `gather_layer` gathers each of the others.

    As for a layer, gradients are summed into split arrays at once.
    """
    flat, tree = jax.tree_util.tree_flatten_with_path(parameters)
    outside = {
        str(number): leaf
        for number, (path, leaf) in enumerate(flat)
        if "blocks" not in jax.tree_util.keystr(path)
    }
    gathered = gather_layer(outside, mesh)
    leaves = [gathered.get(str(number), leaf) for number, (_, leaf) in enumerate(flat)]
    return jax.tree_util.tree_unflatten(tree, leaves)


def gather_layer(parameters: PyTree, mesh: Mesh) -> PyTree:
    """Gathers the parameters of one layer; their gradient is summed into split arrays at once.

    Args:
      parameters: a layer's share of stacked layers, without the leading axis.
    """
    # A constraint is its own transpose, so that the gradient is split at once.
    split = jax.lax.with_sharding_constraint(parameters, parameter_shardings(parameters, mesh))
    return all_gather_parameters(split, mesh)


def local_rows(array: jax.Array) -> np.ndarray:
    """The rows of a batch-sharded array on this process's devices, in order."""
    shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])


def all_rows(array: jax.Array) -> np.ndarray:
    """All rows of a batch-sharded array, on every process."""
    if jax.process_count() == 1:
        return np.asarray(array)
    return multihost_utils.process_allgather(array, tiled=True)
