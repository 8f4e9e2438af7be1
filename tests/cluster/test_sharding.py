"""Where arrays lie on the mesh; the layout of eight devices without having them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from rffr_jax.cluster.sharding import (
    all_rows,
    batch_sharding,
    init_sharded,
    local_rows,
    make_mesh,
    padded_batch_size,
    parameter_shardings,
    put_batch,
    rows_of_process,
    with_shardings,
)
from rffr_jax.errors import UserError
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings


def specs_of(fsdp):
    _, abstract = abstract_mae(ModelSettings("tiny", 24, 12), jnp.float32)
    shardings = parameter_shardings(abstract, AbstractMesh((8 // fsdp, fsdp), ("data", "fsdp")))
    shapes = dict(jax.tree_util.tree_leaves_with_path(abstract))
    return {
        jax.tree_util.keystr(path): (shapes[path].shape, tuple(sharding.spec))
        for path, sharding in jax.tree_util.tree_leaves_with_path(shardings)
    }


def test_fsdp_splits_the_largest_axis_and_never_that_of_stacked_layers():
    split = 0
    for name, (shape, spec) in specs_of(fsdp=4).items():
        places = [axis for axis, part in enumerate(spec) if part == "fsdp"]
        own = shape[1:] if "blocks" in name else shape
        if len(own) < 2 or not any(size % 4 == 0 for size in own):
            assert places == [], name
            continue
        assert len(places) == 1, name
        assert not ("blocks" in name and places == [0]), name
        assert shape[places[0]] == max(size for size in own if size % 4 == 0), name
        split += 1
    assert split >= 8


def test_without_fsdp_parameters_are_on_every_device():
    assert all(set(spec) <= {None} for _, spec in specs_of(fsdp=1).values())


def test_a_mesh_of_all_devices():
    mesh = make_mesh()
    assert dict(mesh.shape) == {"data": jax.device_count(), "fsdp": 1}
    with pytest.raises(UserError, match=r"mesh.fsdp=3 does not divide the \d+ devices"):
        make_mesh(3)


def test_batches_must_divide_over_the_devices():
    mesh = AbstractMesh((4, 2), ("data", "fsdp"))
    assert rows_of_process(16, mesh) == slice(0, 16)
    with pytest.raises(UserError, match="batch_size=12 does not divide over 8 devices"):
        rows_of_process(12, mesh)
    assert [padded_batch_size(size, mesh) for size in (1, 8, 9)] == [8, 8, 16]


def test_rows_come_back_as_they_went():
    mesh = make_mesh()
    batch = {"image": np.arange(24, dtype=np.uint8).reshape(4, 6)}
    there = put_batch(batch, mesh)["image"]
    assert batch_sharding(mesh).spec == PartitionSpec(("data", "fsdp"))
    assert there.sharding == batch_sharding(mesh)
    np.testing.assert_array_equal(all_rows(there), batch["image"])
    np.testing.assert_array_equal(local_rows(there), batch["image"])


def test_arrays_are_built_where_they_belong():
    mesh = make_mesh()
    built = init_sharded(lambda: {"kernel": jnp.ones((4, 2))}, mesh)
    abstract = with_shardings(built, parameter_shardings(built, mesh))
    assert built["kernel"].sharding.is_equivalent_to(abstract["kernel"].sharding, 2)
    assert abstract["kernel"].shape == (4, 2)
