"""What both trainings have in common: layers, MAEs, and the count of a compiled step."""

import dataclasses
from typing import TYPE_CHECKING, Any

from rffr_jax.errors import UserError
from rffr_jax.models.sizes import ModelSettings, ModelSize

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from jaxtyping import PyTree

    from rffr_jax.config import Config
    from rffr_jax.training.step import Losses

ALL, LAYERS = "all", "layers"


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of a training.

    Attributes:
      size, image_size, patch_size, k: of the models and their blocks.
      batch: images of all devices together.
      devices, fsdp: of the mesh.
      gather: `all` weights at once, or `layers` one after another.
      dtype: float32 or bfloat16.
      remat: whether activations are computed again.
    """

    size: str = "vit_b16"
    image_size: int = 224
    patch_size: int = 16
    k: int = 4
    batch: int = 128
    devices: int = 1
    fsdp: int = 1
    gather: str = ALL
    dtype: str = "float32"
    remat: bool = False

    @property
    def model(self) -> ModelSettings:
        return ModelSettings(self.size, self.image_size, self.patch_size)

    @property
    def images(self) -> int:
        """Of one device.

        Raises:
          UserError: a mesh that does not fit.
        """
        if self.batch % self.devices or self.devices % self.fsdp:
            raise UserError("--devices must divide --batch, and --fsdp must divide --devices")
        return self.batch // self.devices

    @property
    def values(self) -> int:
        """Of a patch."""
        return 3 * self.patch_size**2

    @property
    def item(self) -> int:
        """Bytes of the compute type."""
        return 2 if self.dtype == "bfloat16" else 4


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one device and one step.

    Attributes:
      flops: of matrix products.
      memory, network, input: bytes that are moved: to and from memory, to other devices, from the
        host.
      held: bytes of memory that are needed at once.
    """

    flops: float
    memory: float
    network: float
    input: float
    held: float


def layer_flops(tokens: int, queries: int, width: int) -> int:
    """Of one transformer layer, forward."""
    return 4 * tokens * width**2 + 20 * queries * width**2 + 4 * queries * tokens * width


def layer_weights(width: int) -> int:
    return 12 * width**2 + 13 * width


def recomputed_flops(tokens: int, queries: int, width: int) -> int:
    """With `remat`: of all of a layer but its last product, whose result no gradient reads."""
    return layer_flops(tokens, queries, width) - 8 * queries * width**2


def layer_values(tokens: int, width: int, heads: int) -> int:
    """Values that gradients of a layer read: roughly, as `training_step_bytes` counts them."""
    return 24 * tokens * width + 3 * heads * tokens**2


def mae_flops(shape: ModelSize, patches: int, hidden: int, values: int) -> int:
    """Of one pass of a MAE, forward, after the embedding of the patches.

    Args:
      hidden: patches that it hides, of `patches`.
      values: of a patch.
    """
    seen, tokens, w, d = 1 + patches - hidden, 1 + patches, shape.width, shape.decoder_width
    return (
        shape.depth * layer_flops(seen, seen, w)
        + 2 * seen * w * d
        + (shape.decoder_depth - 1) * layer_flops(tokens, tokens, d)
        + layer_flops(tokens, hidden, d)
        + 2 * hidden * d * values
    )


def mae_weights(shape: ModelSize, values: int) -> tuple[int, int]:
    """Weights of a MAE, and those among them that `mesh.fsdp` does not split."""
    w, d = shape.width, shape.decoder_width
    weights = (
        shape.depth * layer_weights(w)
        + shape.decoder_depth * layer_weights(d)
        + values * w + w + w  # embedding, class token
        + 2 * w + w * d + d + d  # norm, decoder's embedding, mask token
        + 2 * d + d * values + values  # norm, prediction
    )  # fmt: skip
    vectors = 13 * (shape.depth * w + shape.decoder_depth * d) + 4 * w + 4 * d + values
    return weights, vectors


def use_simulated_devices(step: Step):
    """Gives this process as many CPU devices; to be called before it uses JAX.

    Whether weights are gathered layer by layer is `step.gather`, and no rule about memory.
    """
    import jax

    from rffr_jax.cluster import memory

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", step.devices)
    memory.SHARE_OF_DEVICE = 0.0 if step.gather == LAYERS else float("inf")


def compiled_cost(
    losses: "Losses",
    parameters: "PyTree",
    frozen: "PyTree",
    inputs: "dict[str, Any]",
    config: "Config",
    mesh: "Mesh",
) -> Cost:
    """Of the step that XLA compiles.

    Args:
      parameters, frozen: shapes of what is trained and of what is not.
      inputs: shapes of the arrays of a global batch.
      config: of the optimizer.
    """
    import functools

    import jax
    import numpy as np

    from rffr_jax.cluster.sharding import batch_sharding, parameter_shardings, with_shardings
    from rffr_jax.training.optimizer import make_optimizer
    from rffr_jax.training.step import init_training_state, make_step
    from scripts.compiled_program import work_of

    optimizer = make_optimizer(config.optimizer, config.steps)
    parameters, frozen = (
        with_shardings(tree, parameter_shardings(tree, mesh)) for tree in (parameters, frozen)
    )
    rest = jax.eval_shape(functools.partial(init_training_state, optimizer, 0.0), parameters)
    state: dict[str, Any] = with_shardings(rest, parameter_shardings(rest, mesh))
    state["parameters"] = parameters
    batch = {
        name: jax.ShapeDtypeStruct(rows.shape, rows.dtype, sharding=batch_sharding(mesh))
        for name, rows in inputs.items()
    }
    jitted = jax.jit(
        make_step(losses, optimizer, mesh, micro_batches=1, ema_decay=0.0),
        donate_argnums=0,
        out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state),
    )
    # Machine code is not looked at, so it need not be good.
    program = jitted.lower(state, frozen, batch).compile({"xla_backend_optimization_level": "0"})
    plan, text = program.memory_analysis(), program.as_text()
    assert plan is not None
    assert text is not None
    work = work_of(text)
    sent = sum(np.prod(rows.shape) * rows.dtype.itemsize for rows in batch.values())
    return Cost(
        flops=work.flops,
        memory=work.memory,
        network=sum(work.network.values()),
        input=float(sent) / mesh.size,
        held=plan.argument_size_in_bytes + plan.temp_size_in_bytes,
    )
