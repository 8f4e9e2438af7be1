"""How fast attention is: cuDNN's fused kernel beside two products of matrices.

    python -m scripts.gpu.attention --output DIR [--quick]

bfloat16, the shapes of this program at 224 px: forward, and forward with gradients. Where cuDNN
does not work, its cells are empty. Milliseconds of a call: the median of 10 repeats of 20 calls.
"""

import argparse
import dataclasses
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.models.attention import attention, forbid_fused_attention, fused_attention_works
from scripts.gpu.results import write_results


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sequences of a layer."""

    name: str
    batch: int
    tokens: int
    heads: int
    width: int


SHAPES = (
    Shape("encoder of a ViT-B/16's MAE, one block hidden", 128, 188, 12, 64),
    Shape("its decoder", 128, 197, 16, 32),
    Shape("ViT-B/16, whole images", 128, 197, 12, 64),
    Shape("ViT-L/16, whole images", 64, 197, 16, 64),
)
QUICK = (Shape("tiny", 2, 17, 2, 16),)
REPEATS, CALLS = 10, 20


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="one small shape, few calls")
    args = parser.parse_args(argv)
    shapes, calls = (QUICK, 2) if args.quick else (SHAPES, CALLS)
    rows: list[dict[str, Any]] = [dataclasses.asdict(shape) for shape in shapes]
    if fused_attention_works(jnp.bfloat16):
        for row, shape in zip(rows, shapes, strict=True):
            row["cudnn_ms"] = milliseconds(shape, calls)
    forbid_fused_attention()  # from here on the same call is two products
    for row, shape in zip(rows, shapes, strict=True):
        row["products_ms"] = milliseconds(shape, calls)
    device = jax.devices()[0].device_kind
    write_results(args.output, "attention", {"device": device, "rows": rows}, _table(rows))
    print((args.output / "attention.md").read_text(), end="")
    return 0


def milliseconds(shape: Shape, calls: int) -> dict[str, float]:
    """Of a forward pass, and of one with its gradients."""
    keys = jax.random.split(jax.random.key(0), 3)
    size = (shape.batch, shape.tokens, shape.heads, shape.width)
    arrays = [jax.random.normal(key, size, jnp.bfloat16) for key in keys]

    def total(query: Array, key: Array, value: Array) -> Array:
        return jnp.sum(attention(query, key, value).astype(jnp.float32) ** 2)

    # A new function each time: the choice of the kernel is made when it is traced.
    forward = jax.jit(lambda *arrays: attention(*arrays))
    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    return {
        "forward": _median(forward, arrays, calls),
        "with_gradients": _median(gradients, arrays, calls),
    }


def _median(function: Callable, arrays: list[Array], calls: int) -> float:
    jax.block_until_ready(function(*arrays))
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(calls):
            result = function(*arrays)
        jax.block_until_ready(result)
        times.append((time.perf_counter() - began) / calls * 1000)
    return statistics.median(times)


def _table(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [
        ("shape", "batch x tokens x heads x width", "cuDNN ms", "with gradients", "products ms",
         "with gradients")
    ]  # fmt: skip
    for row in rows:
        size = " x ".join(str(row[name]) for name in ("batch", "tokens", "heads", "width"))
        cells = [
            f"{row[way][what]:.3g}" if way in row else "-"
            for way in ("cudnn_ms", "products_ms")
            for what in ("forward", "with_gradients")
        ]
        table.append((row["name"], size, *cells))
    return table


if __name__ == "__main__":
    sys.exit(run_program(main))
