"""How fast a training was, and what it learned, from its metrics.jsonl: leg.json and leg.md.

    python -m scripts.gpu.leg --workdir RUN --output DIR

Rates are medians over the lines of the log; the first, which follows the start, is left out where
there are others.
"""

import argparse
import json
import pathlib
import statistics
import sys
from typing import Any

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.errors import UserError
from scripts.gpu.results import write_results

RATES = ("images_per_second", "tflops_per_device", "mfu")
TIMES = ("seconds", "seconds_waited_for_data")


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=pathlib.Path, metavar="RUN")
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR")
    args = parser.parse_args(argv)
    found = summary((args.workdir / "metrics.jsonl").read_text().splitlines())
    table = [("", ""), *((name, _cell(value)) for name, value in found.items())]
    write_results(args.output, "leg", found, table)
    return 0


def summary(lines: list[str]) -> dict[str, Any]:
    """Steps, rates, losses and what was measured on other data.

    Args:
      lines: of `metrics.jsonl`.

    Raises:
      UserError: the run has logged no step.
    """
    records = [json.loads(line) for line in lines]
    training = [record for record in records if record["split"] == "train"]
    if not training:
        raise UserError("the run has logged no step yet")
    steady = training[1:] or training
    found: dict[str, Any] = {
        "steps": training[-1]["step"],
        "images seen": training[-1]["images_seen"],
        "loss at the first line": training[0]["loss"],
        "loss at the last line": training[-1]["loss"],
    }
    for name in RATES:
        values = [record[name] for record in steady if name in record]
        if values:
            found[name] = statistics.median(values)
    seconds, waited = (sum(record[name] for record in steady) for name in TIMES)
    found["share of the time that waited for data"] = waited / seconds
    last = {}
    for record in records:
        if record["split"] != "train":
            last |= {
                f"{record['split']}: {name}": value
                for name, value in record.items()
                if name in ("loss", "auc", "mae", "telea", "ridge")
            }
    return found | last


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(run_program(main))
