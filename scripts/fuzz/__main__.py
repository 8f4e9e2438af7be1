"""Breaks the files that `predict` and `web` read, and checks that each is used or refused.

    python -m scripts.fuzz --files 2000 --seed 0 --output runs/fuzz

Every file is a small whole one with changed bytes (or JSON values), as its number and the seed say.
Images and videos go through `find_files` and `find_faces`, videos that can be read through
`annotate_video`, `finished.jsonl` through the reader of a resumed run, the files of a detector's
workdir and of its model folder through `load_detector`, and uploads through the HTTP API over a
real connection with a small detector behind it, in requests that may be broken, too. A file is well
treated if it is used, or refused with a reason or a `UserError`. Child processes do the work: a
native decoder that crashes, or a file that takes longer than --limit, ends only one of them and is
counted. Badly treated files stay in the output folder. Exit codes: 0 none was; 1 some were; 2 a
mistake.
"""

import argparse
import collections
import contextlib
import pathlib
import re
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rffr_jax.cluster.command_line import run_program
from scripts.fuzz.child import Child, Outcome
from scripts.fuzz.kinds import FILES, SHARES
from scripts.fuzz.whole_files import make_whole_files


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs", "fuzz"))
    parser.add_argument("--workers", type=int, default=2, help="child processes")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds that a file may take")
    parser.add_argument("--kinds", nargs="+", choices=FILES, default=list(FILES))
    args = parser.parse_args(argv)
    if min(args.files, args.workers) < 1 or args.seed < 0 or args.limit <= 0:
        parser.error("--files, --workers and --limit must be above 0, --seed not below it")
    begun = time.monotonic()
    make_whole_files(args.output / "whole", args.kinds)
    found = fuzz(args.output, args.files, args.seed, args.kinds, args.workers, args.limit)
    print("\n".join(format_outcomes(found)))
    bad = sum(not outcome.well for outcome in found)
    took = time.monotonic() - begun
    print(f"\n{len(found)} files, seed {args.seed}, {took:.0f} s: {bad} were not well treated")
    return int(bad > 0)


def fuzz(
    folder: pathlib.Path,
    files: int,
    seed: int,
    kinds: Sequence[str],
    workers: int,
    limit: float,
) -> list[Outcome]:
    """Breaks `files` files and tries each, in `workers` child processes at a time."""
    shares = np.array([SHARES[kind] for kind in kinds])
    draws = np.random.default_rng(np.random.SeedSequence([seed])).random(files)
    which = np.searchsorted(np.cumsum(shares / shares.sum()), draws, side="right")
    tasks = [(number, kinds[min(int(k), len(kinds) - 1)]) for number, k in enumerate(which)]

    def of_worker(worker: int) -> list[Outcome]:
        with contextlib.closing(Child(folder, seed, worker, limit)) as child:
            return [child.outcome(number, kind) for number, kind in tasks[worker::workers]]

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(of_worker, range(workers)))
    return sorted((outcome for part in parts for outcome in part), key=lambda o: o.number)


def format_outcomes(found: Iterable[Outcome]) -> list[str]:
    """A Markdown table of the outcomes, and a line for each file that was not well treated."""
    found = list(found)
    counts = collections.Counter((o.kind, _general(o.what), o.well) for o in found)
    lines = ["| files | kind | outcome |", "|--:|---|---|"]
    for (kind, what, well), count in sorted(counts.items(), key=lambda i: (i[0][0], -i[1])):
        lines.append(f"| {count} | {kind} | {what if well else f'**{what}**'} |")
    slowest = max(found, key=lambda outcome: outcome.seconds)
    lines += ["", f"slowest: number {slowest.number}, {slowest.kind}, {slowest.seconds:.1f} s"]
    return lines + [f"number {o.number}, {o.kind}: {o.what}" for o in found if not o.well]


def _general(what: str) -> str:
    """An outcome without numbers, names and what a decoder said in its own words."""
    what = re.sub(r"\(.*|\S*/\S*", "...", what.splitlines()[0])
    return re.sub(r"0x[0-9a-f]+|\d+", "N", what)[:90].replace("|", "/")


if __name__ == "__main__":
    sys.exit(run_program(main))
