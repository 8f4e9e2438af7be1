"""What a step of pretraining costs, and what bounds it on a card whose rates you give.

    python -m scripts.step_cost --size vit_l16 --batch 1024 --devices 16 --fsdp 8
    python -m scripts.step_cost --size vit_b16 --batch 128 --peak-tflops 989 --memory-gb-s 3350 \
        --network-gb-s 50 --images-s 20000

Counted twice: by hand, and in the program that XLA compiles for as many simulated CPU devices
(minutes for large models; --by-hand leaves it out). Nothing runs, so nothing here is a measured
speed. With rates each cost is divided by its rate: the largest time is a lower bound of a step's.

By hand, for h of P patches hidden, s = 1 + P - h tokens of width w seen, t = 1 + P tokens of width
d decoded, c values of a patch, and 2 FLOPs for a multiply-add:

    layer(n, q, w) = 4nww + 4qww + 4qnw + 16qww    keys and values, query and projection, scores and
                                                   their product, MLP
    F = depth layer(s, s, w) + 2swd                encoder, decoder's embedding
        + (decoder_depth - 1) layer(t, t, d) + layer(t, h, d) + 2hdc
    FLOPs   = images (3 F + 4Pcw)           backward is twice forward; pixels have no gradient
    memory  = 32 W/m + 2 b W + 2 A          bytes: AdamW reads 4 and writes 3 arrays of float32, and
                                            the gradient is written; weights are read forward and
                                            backward; activations A are written and read once
    network = 4 (W' + L) (m-1)/m + 8 W (n-1)/n    gathers of split weights W', and of layers L once
                                            more if each is gathered alone (with remat 5/3: all but
                                            the last product's again); the sum of gradients
    input   = 3 size^2 + 4 P + 4            bytes an image
    held    = 12 W/m + 4 e W + A            state, gradients and gathered weights: e is 1/m layer by
                                            layer, 2 all at once, 1 where nothing is split

of each of n devices, where W are weights, m is `mesh.fsdp` and b the bytes of the compute type. By
hand memory is what cannot be avoided; a CPU's program moves more, because it fuses less than a
GPU's. For GPUs XLA may sum gradients with reduce-scatter, which sends half; that was not compiled
here. Collectives go over rings.

Exit codes: 0 done; 2 a mistake.
"""

import argparse
import dataclasses
import sys
from typing import Any

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.errors import UserError
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.reports.markdown_table import markdown_table

ALL, LAYERS = "all", "layers"


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of pretraining, block by block.

    Attributes:
      size, image_size, patch_size, k: of the model and its blocks; one block is hidden.
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


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default=Step.size)
    parser.add_argument("--image-size", type=int, default=Step.image_size, metavar="PIXELS")
    parser.add_argument("--patch-size", type=int, default=Step.patch_size, metavar="PIXELS")
    parser.add_argument("--k", type=int, default=Step.k, help="k x k blocks")
    parser.add_argument("--batch", type=int, default=Step.batch, help="images of all devices")
    parser.add_argument("--devices", type=int, default=Step.devices)
    parser.add_argument("--fsdp", type=int, default=Step.fsdp, help="as mesh.fsdp")
    parser.add_argument("--gather", default=Step.gather, metavar=f"{ALL}|{LAYERS}")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=Step.dtype)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--by-hand", action="store_true", help="compile nothing")
    parser.add_argument("--peak-tflops", type=float, help="of a card's matrix products")
    parser.add_argument("--memory-gb-s", type=float, help="of a card's memory")
    parser.add_argument("--network-gb-s", type=float, help="that a card can send to others")
    parser.add_argument("--images-s", type=float, help="that the input gives all cards together")
    args = vars(parser.parse_args(argv))
    step = Step(**{field.name: args[field.name] for field in dataclasses.fields(Step)})
    if step.devices < 1 or step.fsdp < 1 or step.batch < 1 or step.gather not in (ALL, LAYERS):
        raise UserError(
            f"--devices, --fsdp and --batch must be 1 or more, and --gather {ALL} or {LAYERS}"
        )
    rates = [args[name] for name in ("peak_tflops", "memory_gb_s", "network_gb_s", "images_s")]
    if not all(rate is None or rate > 0 for rate in rates):
        raise UserError(
            "--peak-tflops, --memory-gb-s, --network-gb-s and --images-s must be above 0"
        )
    given = by_hand(step)
    print(counts_table(given, None if args["by_hand"] else compiled(step)))
    costs = {
        "compute": given.flops / 1e12,
        "memory": given.memory / 1e9,
        "network": given.network / 1e9,
        "input": step.batch,
    }
    seconds = {
        name: cost / rate
        for (name, cost), rate in zip(costs.items(), rates, strict=True)
        if rate is not None
    }
    if seconds:
        print(f"\n{bounds_table(seconds, step.batch)}")
    return 0


def by_hand(step: Step) -> Cost:
    """The formulas of this script's docstring.

    Raises:
      UserError: sizes, blocks or a mesh that do not fit.
    """
    from rffr_jax.method.blocks import BlockGrid

    settings = ModelSettings(step.size, step.image_size, step.patch_size)
    if step.batch % step.devices or step.devices % step.fsdp:
        raise UserError("--devices must divide --batch, and --fsdp must divide --devices")
    shape, patches = settings.shape, settings.grid**2
    hidden = BlockGrid(settings.grid, step.k).side ** 2
    w, d, values = shape.width, shape.decoder_width, 3 * step.patch_size**2
    seen, tokens, images = 1 + patches - hidden, 1 + patches, step.batch // step.devices
    forward = (
        shape.depth * _layer_flops(seen, seen, w)
        + 2 * seen * w * d
        + (shape.decoder_depth - 1) * _layer_flops(tokens, tokens, d)
        + _layer_flops(tokens, hidden, d)
        + 2 * hidden * d * values
    )
    recomputed = 0
    if step.remat:  # all of a block but its last product, whose result no gradient reads
        recomputed = (
            shape.depth * (_layer_flops(seen, seen, w) - 8 * seen * w * w)
            + (shape.decoder_depth - 1) * (_layer_flops(tokens, tokens, d) - 8 * tokens * d * d)
            + _layer_flops(tokens, hidden, d)
            - 8 * hidden * d * d
        )
    weights = (
        shape.depth * _layer_weights(w)
        + shape.decoder_depth * _layer_weights(d)
        + values * w + w + w  # embedding, class token
        + 2 * w + w * d + d + d  # norm, decoder's embedding, mask token
        + 2 * d + d * values + values  # norm, prediction
    )  # fmt: skip
    vectors = (
        13 * (shape.depth * w + shape.decoder_depth * d) + 4 * w + 4 * d + values
    )  # are not split
    item = 2 if step.dtype == "bfloat16" else 4
    activations = item * images * _kept_values(settings, step.remat)
    n, m = step.devices, step.fsdp
    of_layers = 12 * (shape.depth * w**2 + shape.decoder_depth * d**2)
    times = (5 / 3 if step.remat else 1) if step.gather == LAYERS else 0
    gathers = (m - 1) / m * 4 * (weights - vectors + times * of_layers)
    beside_state = 1 / m if step.gather == LAYERS else 1 if m == 1 else 2
    return Cost(
        flops=images * (3 * forward + recomputed + 4 * patches * values * w),
        memory=32 * weights / m + 2 * item * weights + 2 * activations,
        network=gathers + 2 * (n - 1) / n * 4 * weights,
        input=images * (3 * step.image_size**2 + 4 * patches + 4),
        held=12 * weights / m + 4 * weights * beside_state + activations,
    )


def _layer_flops(tokens: int, queries: int, width: int) -> int:
    return 4 * tokens * width**2 + 20 * queries * width**2 + 4 * queries * tokens * width


def _kept_values(settings: ModelSettings, remat: bool) -> int:
    """Values that gradients read of an image: roughly, as `training_step_bytes` counts them.

    With `remat` the input of every layer, and all of the largest layer.
    """
    shape, tokens = settings.shape, 1 + settings.grid**2
    stacks = (
        (shape.depth, shape.width, shape.heads),
        (shape.decoder_depth, shape.decoder_width, shape.decoder_heads),
    )
    of_layer = [24 * tokens * width + 3 * heads * tokens**2 for _, width, heads in stacks]
    if remat:
        return max(of_layer) + sum(depth * tokens * width for depth, width, _ in stacks)
    return sum(depth * values for (depth, *_), values in zip(stacks, of_layer, strict=True))


def _layer_weights(width: int) -> int:
    return 12 * width**2 + 13 * width


def compiled(step: Step) -> Cost:
    """The same of the program that XLA compiles for simulated CPU devices; to be called once in a
    process that has not used JAX yet.

    Raises:
      UserError: sizes or a mesh that do not fit.
    """
    import functools

    import jax
    import numpy as np

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", step.devices)
    from configs import pretrain
    from rffr_jax.cluster import memory
    from rffr_jax.cluster.sharding import (
        batch_sharding,
        make_mesh,
        parameter_shardings,
        with_shardings,
    )
    from rffr_jax.data.pipeline import empty_batch
    from rffr_jax.training.mae_training import MAETraining
    from rffr_jax.training.optimizer import make_optimizer
    from rffr_jax.training.step import init_training_state, make_step
    from scripts.compiled_program import work_of

    memory.SHARE_OF_DEVICE = 0.0 if step.gather == LAYERS else float("inf")  # the rule's two ways
    config = pretrain.get_config()
    config.update(batch_size=step.batch, dtype=step.dtype, remat=step.remat)
    for name in ("size", "image_size", "patch_size"):
        config.model[name] = getattr(step, name)
    config.blocks.k = step.k
    mesh = make_mesh(step.fsdp)
    training = MAETraining(config, mesh)
    optimizer = make_optimizer(config.optimizer, config.steps)
    abstract = jax.eval_shape(training.init_parameters)
    parameters = with_shardings(abstract, parameter_shardings(abstract, mesh))
    rest = jax.eval_shape(functools.partial(init_training_state, optimizer, 0.0), parameters)
    state: dict[str, Any] = with_shardings(rest, parameter_shardings(rest, mesh))
    state["parameters"] = parameters
    inputs = training.inputs(empty_batch(step.batch, step.image_size, 0), 0, slice(0, step.batch))
    batch = {
        name: jax.ShapeDtypeStruct(rows.shape, rows.dtype, sharding=batch_sharding(mesh))
        for name, rows in inputs.items()
    }

    def losses(parameters, frozen, batch):
        return {"loss": training.losses(parameters, batch)}, {}

    jitted = jax.jit(
        make_step(losses, optimizer, mesh, micro_batches=1, ema_decay=0.0),
        donate_argnums=0,
        out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state),
    )
    # Machine code is not looked at, so it need not be good.
    program = jitted.lower(state, {}, batch).compile({"xla_backend_optimization_level": "0"})
    plan, text = program.memory_analysis(), program.as_text()
    assert plan is not None
    assert text is not None
    work = work_of(text)
    sent = sum(np.prod(rows.shape) * rows.dtype.itemsize for rows in batch.values())
    return Cost(
        flops=work.flops,
        memory=work.memory,
        network=sum(work.network.values()),
        input=float(sent) / step.devices,
        held=plan.argument_size_in_bytes + plan.temp_size_in_bytes,
    )


def counts_table(given: Cost, found: Cost | None) -> str:
    """Both counts of one device, as Markdown."""
    rows: list[tuple[str, ...]] = [
        ("of each device", "by hand", *(("compiled", "difference") if found else ()))
    ]
    names = {
        "flops": ("GFLOP", 1e9),
        "memory": ("MB to and from memory", 1e6),
        "network": ("MB sent to other devices", 1e6),
        "input": ("MB of input", 1e6),
        "held": ("MB held", 1e6),
    }
    for name, (title, unit) in names.items():
        value = getattr(given, name)
        row = [title, f"{value / unit:,.1f}"]
        if found:
            other = getattr(found, name)
            row += [f"{other / unit:,.1f}", f"{other / value - 1:+.2%}" if value else "-"]
        rows.append(tuple(row))
    return markdown_table(rows)


def bounds_table(seconds: dict[str, float], images: int) -> str:
    """The time that each cost takes at least, and which is the largest, as Markdown."""
    longest = max(seconds, key=lambda name: seconds[name])
    rows = [("at the rates that were given", "ms a step", "images/s at most", "")]
    for name, time in seconds.items():
        mark = "bounds the step" if name == longest else ""
        rate = f"{images / time:.4g}" if time else "-"
        rows.append((name, f"{1e3 * time:.3g}", rate, mark))
    return markdown_table(rows)


if __name__ == "__main__":
    sys.exit(run_program(main))
