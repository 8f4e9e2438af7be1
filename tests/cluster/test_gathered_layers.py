"""Split parameters, gathered one layer at a time: what a device's memory holds then.

In processes of their own, because the number of devices is fixed when JAX starts.
"""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from rffr_jax.cluster import memory
from rffr_jax.cluster.memory import gathers_each_layer
from tests import jobs

ROOT = pathlib.Path(__file__).parents[2]

# Bytes of state and gradients of a pretraining step: what is left of its arguments and temporary
# arrays without the activations, which are as many for each image.
PROGRAM = """
import functools, json, re, sys
import jax, jax.numpy as jnp
from flax import nnx
from configs import pretrain
from rffr_jax.cluster import memory
from rffr_jax.cluster.sharding import (
    batch_sharding, make_mesh, parameter_shardings, with_shardings
)
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.training.optimizer import make_optimizer
from rffr_jax.training.step import init_training_state, make_step

memory.SHARE_OF_DEVICE = float(sys.argv[1])
config, mesh = pretrain.get_config(), make_mesh(jax.device_count())
definition, abstract = abstract_mae(ModelSettings("vit_ti16", 64, 16), jnp.float32)
optimizer = make_optimizer(config.optimizer, config.steps)
parameters = with_shardings(abstract, parameter_shardings(abstract, mesh))
training = jax.eval_shape(functools.partial(init_training_state, optimizer, 0.0), parameters)
training = with_shardings(training, parameter_shardings(training, mesh))
state = {"parameters": parameters, **training}

def losses(parameters, frozen, batch):
    mae = nnx.merge(definition, nnx.State(parameters))
    found = mae(batch["image"], batch["visible"], batch["hidden"])
    return {"loss": jnp.mean(found**2, axis=(1, 2))}, {}

def planned(images):
    shapes = {"image": (64, 64, 3), "weight": (), "visible": (15,), "hidden": (1,)}
    rows = images * jax.device_count()
    batch = {
        name: jax.ShapeDtypeStruct(
            (rows, *shape),
            jnp.float32 if name in ("image", "weight") else jnp.int32,
            sharding=batch_sharding(mesh),
        )
        for name, shape in shapes.items()
    }
    step = make_step(losses, optimizer, mesh, micro_batches=1, ema_decay=0.0)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=shardings)
    program = jitted.trace(state, {}, batch).lower().compile()
    plan, text = program.memory_analysis(), program.as_text()
    gathers = len(re.findall(" all-gather[a-z-]*[(]", text))
    return plan.argument_size_in_bytes + plan.temp_size_in_bytes, gathers

(one, gathers), (two, _) = planned(1), planned(2)
size = sum(leaf.size for leaf in jax.tree.leaves(abstract))
print(json.dumps({"bytes": 2 * one - two, "gathers": gathers, "weights": 4 * size}))
"""


def measured(devices: int, share: float) -> dict[str, int]:
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-c", PROGRAM, str(share)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_eight_devices_hold_an_eighth_of_state_and_gradients_each():
    one, whole, by_layer = measured(1, 1e9), measured(8, 1e9), measured(8, 0.0)
    # The state is three times the weights; gradients are once more.
    assert 4 * one["weights"] < one["bytes"] < 4.6 * one["weights"]
    # The gathered layer is a larger share of this small model than of a ViT-B.
    assert by_layer["bytes"] <= 1.55 / 8 * one["bytes"]
    assert whole["bytes"] > 2 * by_layer["bytes"]
    # Forward and backward, in the layers of the scan and in the last one, which is alone.
    assert whole["gathers"] < by_layer["gathers"] <= 3 * whole["gathers"]


VALIDATION = """
import re, sys
import jax, numpy as np
jax.config.update("jax_disable_most_optimizations", True)
from rffr_jax import main
from rffr_jax.cluster.sharding import init_sharded, make_mesh, put_batch
from rffr_jax.training.pretrain import Pretraining
from tests import jobs

KINDS = "all-gather|all-to-all|all-reduce|collective-permute|reduce-scatter"
ROWS = 40  # 5 a device: a number that no parameter has as a size
argv = ["x", f"--config={jobs.CONFIGS}/pretrain.py", f"--workdir={sys.argv[1]}"]
flags = [f"--config.{flag}" for flag in (f"batch_size={ROWS}", "data.workers=0", *sys.argv[2:])]
config, _, workdir, _ = main._parse([*argv, *jobs.FIXED["pretrain"], *flags], ())
mesh = make_mesh(config.mesh.fsdp)
objective = Pretraining(config, workdir, mesh)
parameters = init_sharded(objective.init_parameters, mesh)
leaves = jax.tree.leaves(parameters)
split = [leaf.shape for leaf in leaves if not leaf.sharding.is_fully_replicated]
batch = {"image": np.zeros((ROWS, 48, 48, 3), np.uint8), "weight": np.ones(ROWS, np.float32)}
inputs = put_batch(objective._autoencoder.validation_inputs(batch, 0, slice(ROWS)), mesh)
text = objective._mean_loss.lower(parameters, inputs).compile().as_text()
sent = []
for line in text.splitlines():
    if match := re.search(f" = (.*?) ({KINDS})[a-z-]*[(]", line):
        shapes = re.findall(r"\\w+\\[([\\d,]+)\\]", match[1])  # the summed loss has no shape
        sent += [(match[2], tuple(map(int, shape.split(",")))) for shape in shapes]
assert split and sorted(sent) == sorted(("all-gather", shape) for shape in split), (sent, split)
"""


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [2, 8])
def test_the_validation_of_a_pretraining_sends_weights_and_no_activations(tmp_path, fsdp):
    for seed, name in enumerate(("train", "validation")):
        jobs.draw_faces(tmp_path / name, seed=seed)
    data = [f"data.{name}=csv:{tmp_path}/{name}.csv" for name in ("train", "validation")]
    command = [sys.executable, "-c", VALIDATION, str(tmp_path / "run"), f"mesh.fsdp={fsdp}", *data]
    flags = "--xla_force_host_platform_device_count=8"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_layers_are_gathered_one_at_a_time_where_all_do_not_fit(monkeypatch):
    kernel = {"kernel": jax.ShapeDtypeStruct((100, 10), jnp.float32)}
    # Trained weights have gradients of their size, frozen ones have none.
    for frozen, needed in (({}, 8000), (kernel, 12_000)):
        enough = round(needed / memory.SHARE_OF_DEVICE)
        for available, expected in ((enough, False), (enough - 4, True)):
            monkeypatch.setattr(memory, "_agreed_bytes", available)
            assert gathers_each_layer(kernel, frozen) == expected
