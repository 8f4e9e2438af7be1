"""What a step of a training costs, and what bounds it on a card whose rates you give.

    python -m scripts.step_cost --size vit_l16 --batch 1024 --devices 16 --fsdp 8
    python -m scripts.step_cost --size vit_b16 --batch 128 --peak-tflops 989 --memory-gb-s 3350 \
        --network-gb-s 50 --images-s 20000
    python -m scripts.step_cost --job detect --batch 32 --blocks random

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

A detector (--job detect) of the size of its MAE: its two branches read r patches, u = 1 + r tokens,
and the MAE, whose W_f weights are frozen, fills K blocks of an image, each in a pass of its own.
With --blocks random a group of images has the numbers of a training, whose mean is the expected
number; --blocks N has N, full all blocks. All images are padded to the largest number.

    FLOPs   = images (K F + 2Pcw + 2 (3 depth layer(u, u, w) + 4rcw) + 24w)
    memory, network, held: with b W_f, b W_f' (m-1)/m and b e W_f more (its prediction is float32; a
                            CPU's program gathers bfloat16 as float32)
    input   = 3 size^2 + 8 + 4 blocks       and with --kept the residuals, 2 bytes a value; then
                                            there is no MAE: no K F + 2Pcw and no W_f

Exit codes: 0 done; 2 a mistake.
"""

import argparse
import dataclasses
import sys

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.errors import UserError
from rffr_jax.reports.markdown_table import markdown_table
from scripts.step_cost import detector, pretraining
from scripts.step_cost.cost import ALL, LAYERS, Cost, Step
from scripts.step_cost.detector import FULL, RANDOM, DetectorStep

PRETRAIN, DETECT = "pretrain", "detect"


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", choices=(PRETRAIN, DETECT), default=PRETRAIN)
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
    parser.add_argument("--blocks", default=RANDOM, metavar=f"{RANDOM}|{FULL}|N", help="of detect")
    parser.add_argument("--kept", action="store_true", help="of detect: residuals are read")
    parser.add_argument("--by-hand", action="store_true", help="compile nothing")
    parser.add_argument("--peak-tflops", type=float, help="of a card's matrix products")
    parser.add_argument("--memory-gb-s", type=float, help="of a card's memory")
    parser.add_argument("--network-gb-s", type=float, help="that a card can send to others")
    parser.add_argument("--images-s", type=float, help="that the input gives all cards together")
    args = vars(parser.parse_args(argv))
    kind = DetectorStep if args["job"] == DETECT else Step
    step = kind(**{field.name: args[field.name] for field in dataclasses.fields(kind)})
    if step.devices < 1 or step.fsdp < 1 or step.batch < 1 or step.gather not in (ALL, LAYERS):
        raise UserError(
            f"--devices, --fsdp and --batch must be 1 or more, and --gather {ALL} or {LAYERS}"
        )
    rates = [args[name] for name in ("peak_tflops", "memory_gb_s", "network_gb_s", "images_s")]
    if not all(rate is None or rate > 0 for rate in rates):
        raise UserError(
            "--peak-tflops, --memory-gb-s, --network-gb-s and --images-s must be above 0"
        )
    if isinstance(step, DetectorStep):
        given = detector.by_hand(step)
        found = None if args["by_hand"] else detector.compiled(step)
        if step.counts:
            print("blocks of each image of a group:", *step.counts, end="\n\n")
    else:
        if args["kept"] or args["blocks"] != RANDOM:
            raise UserError(f"--kept and --blocks are for --job {DETECT}")
        given = pretraining.by_hand(step)
        found = None if args["by_hand"] else pretraining.compiled(step)
    print(counts_table(given, found))
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
