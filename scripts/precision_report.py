"""What bfloat16 changes: residuals and AUCs of one detector, computed in both types.

    python scripts/precision_report.py --detector runs/detect --tests csv:TEST.csv [--limit 64]

Parameters, norms, softmax, prediction, loss and the residual's subtraction are float32 either way;
bfloat16 are the matrix products and what flows between them. On a CPU bfloat16 is emulated: the
numbers hold for its rounding, not for its speed. Exit codes: 0 done; 2 a mistake.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from rffr_jax.cluster.command_line import run_program

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
TYPES = ("float32", "bfloat16")


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", required=True, help="workdir of a detector with a MAE")
    parser.add_argument("--tests", required=True, help="a dataset spec")
    parser.add_argument("--limit", type=int, default=64, help="images whose residuals are compared")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        for name in TYPES:
            done = _run("evaluate", folder, name, detector=args.detector, tests=args.tests)
            done = done or _run(
                "residual",
                folder,
                name,
                mae=f"{args.detector}/checkpoints/mae",
                inputs=_limited(args.tests, args.limit),
            )
            if done:
                return done
        print(report(pathlib.Path(folder)))
    return 0


def report(folder: pathlib.Path) -> str:
    """The comparison of FOLDER/JOB-TYPE for both jobs and types, as text."""
    exact, rounded = (np.load(folder / f"residual-{name}/residuals.npz") for name in TYPES)
    difference = np.abs(rounded["residual"].astype(np.float64) - exact["residual"])
    size = np.abs(exact["residual"].astype(np.float64)).mean()
    lines = [
        f"residuals of {len(difference)} images: mean |R| {size:.4f}; bfloat16 - float32: mean "
        f"{difference.mean():.5f} ({difference.mean() / size:.1%} of it), 99.9 % below "
        f"{np.quantile(difference, 0.999):.4f}, largest {difference.max():.4f}",
        "",
        f"{'AUC':40} {'float32':>10} {'bfloat16':>10} {'difference':>10}",
    ]
    exact, rounded = (_aucs(folder / f"evaluate-{name}/results.json") for name in TYPES)
    lines += [
        f"{name:40} {exact[name]:10.4f} {rounded[name]:10.4f} {rounded[name] - exact[name]:+10.4f}"
        for name in exact
    ]
    return "\n".join(lines)


def _aucs(results: pathlib.Path) -> dict[str, float]:
    table: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    return {
        f"{dataset} {method}": numbers["auc"]
        for dataset, entry in table.items()
        if dataset != "about"
        for method, numbers in {"pooled": entry["pooled"], **entry["methods"]}.items()
    }


def _limited(spec: str, limit: int) -> str:
    return f"{spec}{'&' if '?' in spec else '?'}limit={limit}"


def _run(job: str, folder: str, dtype: str, **settings: str) -> int:
    from rffr_jax.main import run

    settings = {f"data.{k}" if k in ("tests", "inputs") else k: v for k, v in settings.items()}
    flags = [f"--config.{name}={value}" for name, value in {"dtype": dtype, **settings}.items()]
    workdir = f"--workdir={folder}/{job}-{dtype}"
    with contextlib.redirect_stdout(sys.stderr):
        return run(["rffr_jax", f"--config={CONFIGS / job}.py", workdir, *flags])


if __name__ == "__main__":
    sys.exit(run_program(main))
