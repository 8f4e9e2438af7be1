"""What `rffr-jax doctor` finds, as doctor.json and doctor.md.

python -m scripts.gpu.doctor --output DIR
"""

import argparse
import pathlib
import sys

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.command.doctor import BAD, findings
from scripts.gpu.results import write_results


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns 1 if something does not work."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR")
    args = parser.parse_args(argv)
    found = list(findings())
    lines = [{"kind": kind, "text": text} for kind, text in found]
    write_results(args.output, "doctor", {"findings": lines}, [("", "finding"), *found])
    print("\n".join(f"{kind:4}  {text}" for kind, text in found))
    return int(any(kind == BAD for kind, _ in found))


if __name__ == "__main__":
    sys.exit(run_program(main))
