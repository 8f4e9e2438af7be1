"""How fast a training gets procedural faces: in one process, with workers, and kept.

    python -m scripts.benchmark.training_input [--size 224] [--images 192] [--batch 16]
        [--workers 2] [--repeats 3]

Images a second on the clock, from the first batch on, of the first epoch (every face is painted)
and of the second one, with and without worker processes and kept pixels. The sides take turns;
medians are reported. The batches of all sides are compared to the bit.
"""

import argparse
import hashlib
import itertools
import statistics
import sys
import time
from contextlib import closing

from rffr_jax.cluster.command_line import run_program
from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.pipeline import train_batches
from rffr_jax.data.selection import keep_first
from rffr_jax.synthetic.dataset import SyntheticDataset

EPOCHS = 2


def main(argv: list[str] | None = None) -> int:
    """Measures and prints a table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--size", type=int, default=224, help="of the images, in pixels")
    add("--images", type=int, default=192, help="of an epoch")
    add("--batch", type=int, default=16)
    add("--workers", type=int, default=2)
    add("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    sides = list(itertools.product((0, args.workers), (False, True)))
    seconds: dict[tuple[int, bool], list[list[float]]] = {side: [] for side in sides}
    digests = set()
    for _ in range(args.repeats):
        for side in sides:
            epochs, digest = _measure(args, *side)
            seconds[side].append(epochs)
            digests.add(digest)
    print("| workers | pixels kept | first epoch, images/s | second epoch, images/s | both |")
    print("| --- | --- | --- | --- | --- |")
    for (workers, kept), repeats in seconds.items():
        first, second = (statistics.median(epoch) for epoch in zip(*repeats, strict=True))
        rates = (args.images / first, args.images / second, 2 * args.images / (first + second))
        shown = " | ".join(f"{rate:.0f}" for rate in rates)
        print(f"| {workers} | {'yes' if kept else 'no'} | {shown} |")
    print("batches equal to the bit" if len(digests) == 1 else "BATCHES DIFFER")
    return 0 if len(digests) == 1 else 1


def _measure(args: argparse.Namespace, workers: int, kept: bool) -> tuple[list[float], str]:
    """Seconds of each epoch after the first batch, and a digest of all batches."""
    dataset = keep_first(SyntheticDataset(0, "train"), args.images)
    steps = args.images // args.batch
    batches = train_batches(
        CachedDataset(dataset, args.size, keep_pixels=kept),
        size=args.size,
        batch_size=args.batch,
        seed=0,
        start_step=0,
        num_steps=EPOCHS * steps + 1,
        balanced=False,
        workers=workers,
    )
    digest = hashlib.blake2b()
    seconds = []
    with closing(batches):
        digest.update(next(batches)["image"].tobytes())
        for _ in range(EPOCHS):
            start = time.perf_counter()
            for batch in itertools.islice(batches, steps):
                digest.update(batch["image"].tobytes())
            seconds.append(time.perf_counter() - start)
    return seconds, digest.hexdigest()


if __name__ == "__main__":
    sys.exit(run_program(main))
