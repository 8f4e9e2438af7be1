"""What the parts of `scripts/gpu_parts.sh` found, as one page: report.json and report.md.

    python -m scripts.gpu_report --results runs/gpu_parts

Parts that have not run, and units that failed, are named. The first table has the project's targets
for a GPU beside what was measured; it judges nothing that was measured on a CPU or with --quick.
Results of different devices are refused.
Exit codes: 0 done; 2 a mistake.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.errors import UserError
from rffr_jax.reports.markdown_table import markdown_table
from rffr_jax.runs.atomic_files import atomic_write, read_json_object, write_json
from scripts.benchmark import report as benchmark_report
from scripts.gpu.requirements import PARTS

Units = dict[str, dict[str, Any]]
BENCHMARKS = ("benchmark", "batches")
LOOP = "PyTorch, a loop over the blocks"


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", required=True, type=pathlib.Path, metavar="DIR")
    args = parser.parse_args(argv)
    if not args.results.is_dir():
        raise UserError(f"--results {args.results} is no folder; run scripts/gpu_parts.sh first")
    parts = {part: read_units(args.results / part) for part in PARTS}
    measured = [row for part in BENCHMARKS for row in all_rows(parts[part])]
    devices = dict.fromkeys(row["device"] for row in measured)
    if len(devices) > 1:
        raise UserError(
            f"--results {args.results} mixes measurements of {' and '.join(devices)}; keep a "
            "folder for each device"
        )
    write_json(args.results / "report.json", parts)
    with atomic_write(args.results / "report.md") as page:
        page.write_text(markdown(parts), encoding="utf-8")
    print(f"wrote {args.results / 'report.json'} and {args.results / 'report.md'}")
    return 0


def read_units(folder: pathlib.Path) -> Units:
    """What each unit of a part left: `found` (of its JSON), `text` (its Markdown) and `state`."""
    units: Units = {}
    for unit in sorted(path for path in folder.glob("*") if path.is_dir()):
        state = "done" if (unit / "done").exists() else "not finished"
        if (unit / "failed").exists():
            state = f"failed: {(unit / 'failed').read_text().strip()}"
        found: dict[str, Any] = {"state": state}
        for file in unit.glob("*.json"):
            found["found"] = read_json_object(file)
            page = file.with_suffix(".md")
            if page.exists():  # not yet where a unit was killed between the two
                found["text"] = page.read_text()
        units[unit.name] = found
    return units


def markdown(parts: dict[str, Units]) -> str:
    """The page: targets first, then a section for each part."""
    rows = all_rows(parts["benchmark"])
    lines = ["# A GPU, part by part", "", *_targets(rows), ""]
    for part, units in parts.items():
        lines += [f"## {part}", ""]
        lines += [] if units else ["Not run.", ""]
        for name, unit in units.items():
            if unit["state"] != "done":
                lines += [f"- {name}: {unit['state']}", ""]
        if part == "batches":
            lines += [markdown_table(_batches(all_rows(units))), ""] if units else []
        elif part == "benchmark":
            lines += [_benchmark(units), ""] if rows else []
        else:
            lines += [f"{unit['text']}" for unit in units.values() if "text" in unit]
    return "\n".join(lines).rstrip("\n") + "\n"


def all_rows(units: Units) -> list[dict[str, Any]]:
    """The rows of all benchmarks among the units, each with its device."""
    return [
        {**row, "device": unit["found"]["device"]}
        for unit in units.values()
        for row in unit.get("found", {}).get("rows", ())
    ]


def _benchmark(units: Units) -> str:
    """All rows as one run of the benchmark prints them."""
    fields = {field.name for field in dataclasses.fields(benchmark_report.Result)}
    found = [unit["found"] for unit in units.values() if "found" in unit]
    results = [
        benchmark_report.Result(**{name: row[name] for name in row if name in fields})
        for one in found
        for row in one["rows"]
    ]
    notes = dict.fromkeys(note for one in found for note in one["notes"])
    about = {**found[0], "notes": list(notes), "command": "scripts/gpu_parts.sh benchmark"}
    return benchmark_report.markdown(about, results)


def _batches(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    table = [("row", "type", "images a call", "who", "images/s", "of the measured rate", "peak GB")]
    for row in sorted(rows, key=lambda row: (row["work"], row["batch"])):
        cells = row["work"], row["dtype"], str(row["batch"]), row["who"]
        if "reason" in row:
            table.append((*cells, row["reason"], "", ""))
            continue
        share, peak = row["share_of_measured_rate"], (row["memory"] or {}).get("peak_bytes")
        table.append(
            (
                *cells,
                f"{row['images_per_second']:.4g}",
                "-" if share is None else f"{share:.0%}",
                "-" if peak is None else f"{peak / 1e9:.2f}",
            )
        )
    return table


def _targets(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The targets of docs/benchmarks.md that need a GPU."""
    measured = {(row["work"], row["dtype"], row["who"]): row for row in rows if "reason" not in row}
    residual = measured.get(("residual", "bfloat16", "rffr_jax"))
    loop = measured.get(("residual", "float32", LOOP))
    pretrain = measured.get(("pretrain", "bfloat16", "rffr_jax"))
    if residual is None and pretrain is None:
        return ["No row in bfloat16 was measured: there is nothing to hold against the targets."]
    times = residual["images_per_second"] / loop["images_per_second"] if residual and loop else None
    device = (residual or pretrain or {})["device"]
    table = [
        (f"on {device}", "target", "measured"),
        ("full residual, bfloat16, of the measured rate", "60 %", _share(residual)),
        ("the same beside PyTorch's loop in float32", "20 x", f"{times:.1f} x" if times else "-"),
        ("block-mask pretraining, bfloat16, of that rate", "50 %", _share(pretrain)),
    ]
    return [markdown_table(table)]


def _share(row: dict[str, Any] | None) -> str:
    share = row and row["share_of_measured_rate"]
    return "-" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    sys.exit(run_program(main))
