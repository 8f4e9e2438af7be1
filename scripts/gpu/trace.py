"""Which operations took the time of a device, from a run's `profile`: trace.json and trace.md.

    python -m scripts.gpu.trace --workdir RUN --output DIR

Sums over the traced steps. A GPU's kernels are counted; where none is in the trace, as on a CPU,
what XLA ran on the host. The trace itself is for TensorBoard's profile page.
"""

import argparse
import collections
import pathlib
import re
import sys
from typing import Any

from jax.profiler import ProfileData

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.errors import UserError
from scripts.gpu.results import write_results

SHOWN = 25


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=pathlib.Path, metavar="RUN")
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR")
    args = parser.parse_args(argv)
    files = sorted((args.workdir / "profile").rglob("*.xplane.pb"))
    if not files:
        raise UserError(f"{args.workdir} has no profile; train with --config.profile=FIRST,LAST")
    plane, seconds = operations(ProfileData.from_file(str(files[-1])))
    total = sum(seconds.values())
    shown = seconds.most_common(SHOWN)
    rows = [(f"`{name}`", f"{1e3 * s:.3g}", f"{s / total:.1%}") for name, s in shown]
    table = [(f"operation, {plane}", "ms", "of all"), *rows]
    found = {"plane": plane, "seconds": total, "operations": dict(shown)}
    write_results(args.output, "trace", found, table)
    return 0


def operations(trace: Any) -> tuple[str, collections.Counter[str]]:
    """The first device of a `ProfileData` (of a CPU its host), and the seconds of each operation.

    Operations that differ only in a number behind their name count as one.

    Raises:
      UserError: no operation is in it.
    """
    planes = sorted(trace.planes, key=lambda plane: (":GPU:" not in plane.name, plane.name))
    for plane in planes:
        is_gpu = ":GPU:" in plane.name
        lines = [line for line in plane.lines if line.name.startswith("Stream") or not is_gpu]
        seconds = collections.Counter()
        for event in (event for line in lines or plane.lines for event in line.events):
            if is_gpu or "hlo_op" in dict(event.stats):
                seconds[re.sub(r"[.\d]+$", "", event.name)] += event.duration_ns / 1e9
        if seconds:
            return plane.name, seconds
    raise UserError("the profile holds no operation")


if __name__ == "__main__":
    sys.exit(run_program(main))
