"""What hiding several blocks in one pass changes: residuals and AUCs of one detector.

    python scripts/blocks_per_pass_report.py --detector runs/detect --tests csv:TEST.csv

The detector's own residuals (usually exact, one block a pass) stand beside approximate ones for
every other number of blocks that a pass can hide; docs/speed.md explains them. Exit codes: 0 done;
2 a mistake.
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING

import numpy as np

from rffr_jax.cluster.command_line import run_program
from rffr_jax.errors import UserError

if TYPE_CHECKING:
    from rffr_jax.evaluation.predictions import Predictions


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", required=True, help="workdir of a detector with a MAE")
    parser.add_argument("--tests", required=True, help="a dataset spec")
    parser.add_argument("--limit", type=int, default=64, help="images whose residuals are compared")
    args = parser.parse_args(argv)
    try:
        report(pathlib.Path(args.detector), args.tests, args.limit)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(detector: pathlib.Path, tests: str, limit: int):
    """Prints a line for every number of blocks that a pass can hide.

    Raises:
      UserError: no detector that reads a MAE's residuals, or no such data.
    """
    import jax
    import jax.numpy as jnp

    from rffr_jax.cluster.sharding import make_mesh
    from rffr_jax.data.pipeline import evaluation_batches
    from rffr_jax.data.selection import keep_first
    from rffr_jax.data.specs import load_dataset
    from rffr_jax.evaluation.scoring import Scorer
    from rffr_jax.method.detection import Detection
    from rffr_jax.method.detection_settings import DetectionSettings
    from rffr_jax.runs.checkpoints.names import FROZEN
    from rffr_jax.runs.checkpoints.weights import load_weights, read_about

    about = read_about(detector, "--detector", "detector")
    settings = DetectionSettings.from_json(about["detection"])
    if not settings.needs_mae:
        raise UserError(f"--detector={detector} reads no residuals of a MAE")
    mesh, dataset = make_mesh(), load_dataset(tests)
    own = Detection(settings, jnp.float32)
    parameters = load_weights(detector, "--detector", own.abstract_parameters, mesh)
    mae = load_weights(detector / FROZEN["mae"], "--detector", own.abstract_frozen, mesh)
    size = settings.model.image_size
    batches = evaluation_batches(keep_first(dataset, limit), size=size, batch_size=8)
    some = [batch["image"][batch["weight"] > 0] for batch in batches]

    before = None
    for per_pass in [settings.blocks_per_pass, *others(settings)]:
        detection = Detection(dataclasses.replace(settings, blocks_per_pass=per_pass), jnp.float32)
        residual_images = jax.jit(detection.residual_images)
        residuals = [np.asarray(residual_images(mae, images)) for images in some]
        scorer = Scorer(detection, mae, mesh, batch_size=32, workers=0, max_bad_fraction=0.01)
        now = residuals, aucs(scorer.score(parameters, dataset))
        before = before or now
        print(line(per_pass, *now, *before), flush=True)


def others(settings) -> list[int]:
    """Numbers of blocks that a pass can hide, but for the detector's own."""
    blocks = settings.k**2
    return [n for n in range(1, blocks) if blocks % n == 0 and n != settings.blocks_per_pass]


def aucs(scored: "Predictions") -> dict[str, float]:
    """Of each method against all reals."""
    from rffr_jax.evaluation.metrics import auc
    from rffr_jax.evaluation.results import select_method_and_reals
    from rffr_jax.examples import FAKE

    methods = sorted({example.method for example in scored.examples if example.label == FAKE})
    parts = {method: select_method_and_reals(scored, method) for method in methods}
    return {method: auc(part.labels, part.scores) for method, part in parts.items()}


def line(
    per_pass: int,
    residuals: list[np.ndarray],
    found: dict[str, float],
    own_residuals: list[np.ndarray],
    own: dict[str, float],
) -> str:
    """One number of blocks beside the detector's own."""
    error = np.concatenate([np.abs(a - b) for a, b in zip(residuals, own_residuals, strict=True)])
    size = np.mean(np.concatenate([np.abs(b) for b in own_residuals]))
    numbers = "  ".join(f"{m} {a:.4f} ({a - own[m]:+.4f})" for m, a in found.items())
    return (
        f"{per_pass} a pass: mean |difference| / mean |R| {error.mean() / size:.3f}; AUC {numbers}"
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
