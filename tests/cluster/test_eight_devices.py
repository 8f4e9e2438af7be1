"""Trainings on eight devices, data parallel, fully sharded and both, against a single device."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.names import LATEST
from rffr_jax.runs.checkpoints.weights import load_weights
from tests import jobs

ROOT = pathlib.Path(__file__).parents[2]
# Of a device's memory for whole weights and gradients: without any each layer is gathered alone.
ALL_AT_ONCE, BY_LAYER = 1e9, 0.0
MESHES = {
    "1": (1, ALL_AT_ONCE),
    "8": (8, ALL_AT_ONCE),
    "2": (2, ALL_AT_ONCE),
    "8-by-layer": (8, BY_LAYER),
    "2-by-layer": (2, BY_LAYER),
}
BATCH = ("batch_size=32",)

# All trainings in one process, because the number of devices is fixed when JAX starts.
PROGRAM = """
import json, pathlib, sys
import jax
import numpy as np
cache, plan, moved = sys.argv[1], json.loads(sys.argv[2]), pathlib.Path(sys.argv[3])
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
from rffr_jax.runs.checkpoints.weights import load_weights, save_weights
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.cluster import memory
from rffr_jax.cluster.sharding import make_mesh, parameter_shardings
from rffr_jax.training import loop
from tests import jobs

assert jax.device_count() == 8
make_step = loop.compiled_step

def looked_at(objective, optimizer, state, config, mesh, rows, first_step):
    program, flops = make_step(objective, optimizer, state, config, mesh, rows, first_step)
    known = parameter_shardings(state, mesh)
    split = [0, 0]

    def check(tree, known):
        for leaf, sharding in zip(jax.tree.leaves(tree), jax.tree.leaves(known), strict=True):
            assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
            fraction = leaf.addressable_shards[0].data.size / max(leaf.size, 1)
            rule = "fsdp" in sharding.spec and mesh.shape["fsdp"] > 1
            assert fraction == (1 / mesh.shape["fsdp"] if rule else 1), (leaf.shape, sharding)
            split[0] += rule * leaf.size
            split[1] += leaf.size

    def step(state, frozen, batch):
        check(frozen, parameter_shardings(frozen, mesh))
        check(state, known)
        new = program(state, frozen, batch)
        check(new, known)
        if not looked_at.steps:  # later a save in the background may hold the old arrays
            assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state)), "not donated"
        looked_at.steps += 1
        return new

    looked_at.split, looked_at.steps = split, 0
    return step, flops

loop.compiled_step = looked_at
for job, workdir, flags, (fsdp, share) in plan:
    memory.SHARE_OF_DEVICE = share
    assert jobs.start(job, workdir, *flags, f"mesh.fsdp={fsdp}") == 0, (job, workdir)
    found = looked_at.split[0] / looked_at.split[1]
    assert (found > 0.9) == (fsdp > 1), found  # matrices are most of what there is

# ---- a checkpoint of one device on eight, and from there back
mesh = make_mesh(8)
_, abstract = abstract_mae(ModelSettings("tiny", jobs.SIZE, jobs.PATCH))
weights = load_weights(moved, "mae", abstract, mesh)
assert not all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(weights))
there = jobs.saved_arrays(moved / "checkpoints" / "latest" / "4")
leaves = jax.tree_util.tree_leaves_with_path(weights)
jobs.assert_same_arrays({jax.tree_util.keystr(p): np.asarray(leaf) for p, leaf in leaves}, there)
save_weights(moved / "again", 0, weights, {})
print("all done")
"""


@pytest.mark.slow
def test_eight_devices_compute_what_one_does(tmp_path, mae, compiled_programs):
    for seed, split in enumerate(("train", "validation")):
        jobs.draw_faces(tmp_path / split, seed=seed, reals=32 if split == "train" else 6)
    data = [f"data.{split}=csv:{tmp_path}/{split}.csv" for split in ("train", "validation")]
    flags = {
        "pretrain": [*data, *BATCH],
        "detect": [*data, *BATCH, f"mae={mae}", "evaluation_batch_size=16"],
    }
    for job in flags:
        assert jobs.start(job, tmp_path / job, *flags[job]) == 0
    plan = [
        (job, f"{tmp_path}/{job}-{name}", flags[job], how)
        for job in flags
        for name, how in MESHES.items()
    ]
    moved = tmp_path / "moved"
    shutil.copytree(mae, moved)
    command = [sys.executable, "-c", PROGRAM, str(compiled_programs)]
    done = subprocess.run(
        [*command, json.dumps(plan), str(moved)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("all done\n")
    for job in flags:
        one = jobs.metric_lines(tmp_path / job)
        for name in MESHES:
            eight = jobs.metric_lines(tmp_path / f"{job}-{name}")
            assert [line["step"] for line in one] == [line["step"] for line in eight]
            for key in ("loss", "auc", "images_seen"):
                values = [[line[key] for line in lines if key in line] for lines in (one, eight)]
                np.testing.assert_allclose(values[0], values[1], rtol=0, atol=1e-6)

    # ---- what eight devices saved, on one: bit for bit, and the training goes on from it
    there = jobs.saved_arrays(moved / LATEST / "4")
    jobs.assert_same_arrays(jobs.saved_arrays(moved / "again" / "0"), there)
    _, abstract = abstract_mae(ModelSettings("tiny", jobs.SIZE, jobs.PATCH))
    back = load_weights(moved / "again", "mae", abstract, make_mesh())
    leaves = jax.tree_util.tree_leaves_with_path(back)
    jobs.assert_same_arrays(
        {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}, there
    )
    shutil.rmtree(tmp_path / "pretrain-8" / LATEST / "4")
    assert jobs.start("pretrain", tmp_path / "pretrain-8", *flags["pretrain"]) == 0
    resumed = jobs.metric_lines(tmp_path / "pretrain-8")
    for one, other in zip(jobs.metric_lines(tmp_path / "pretrain"), resumed, strict=True):
        name = "mae" if one["split"] == "reconstruction" else "loss"
        np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-6)


DEVICES = """
import sys, jax
jax.config.update("jax_num_cpu_devices", 8)
from tests import jobs
workdir, *flags = sys.argv[1:]
known = [f.split(" ") for f in flags]
print([jobs.start("pretrain", workdir, *f) for f in known])
"""


@pytest.mark.slow
def test_batches_and_meshes_that_do_not_fit_are_one_line_each(tmp_path, data):
    both = " ".join(data)
    tries = [f"{both} batch_size=12", f"{both} batch_size=8", f"{both} mesh.fsdp=3"]
    command = [sys.executable, "-c", DEVICES, str(tmp_path / "run"), *tries]
    found = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert found.stdout.splitlines()[-1] == "[2, 2, 2]"
    mistakes = [
        line
        for line in found.stderr.splitlines()
        if "left out" not in line and "freed memory" not in line
    ]
    assert mistakes == [
        "rffr_jax: batch_size=12 does not divide over 8 devices; choose a multiple",
        "rffr_jax: data.train holds 6 images, fewer than one batch of --config.batch_size=8; name "
        "more data or take a smaller batch",
        "rffr_jax: mesh.fsdp=3 does not divide the 8 devices of this run; choose a divisor",
    ]
    assert not (tmp_path / "run").exists()
