"""What a MAE's residuals show of manipulations, and what of that the image shows as well.

    python scripts/residual_report.py --mae runs/pretrain --train SPEC --validation SPEC

Logistic regressions (as in `rffr_jax/evaluation/energy_reference.py`) read one thing each, learn
one method of fakes at a time, and are tested on every method of other people:

    fine detail      log energies of four high-pass filters in 8 x 8 cells
    size in cells    log of the mean absolute residual in each cell and colour
    mean in cells    mean residual in each cell and colour, with its sign

Where fine detail is all that tells fakes apart, a residual is a high-pass filter of the image.
Prints a Markdown table: mean AUC on the method that was learned and on the others, and how many
values of real faces the amplification by `--alpha` cuts off. Exit codes: 0 done; 2 a mistake.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float32

from rffr_jax.cluster.command_line import run_program
from rffr_jax.errors import UserError

SMALL = 1e-3
BOTH = "image and residual, fine detail"
Readings = Mapping[str, Float32[np.ndarray, "n features"]]


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mae", required=True, help="a pretrain workdir, weights or box")
    parser.add_argument("--train", required=True, help="a dataset spec")
    parser.add_argument("--validation", required=True, help="a dataset spec, of other people")
    parser.add_argument("--alpha", type=float, default=4.0, help="amplification of residuals")
    parser.add_argument("--blocks-per-pass", type=int, default=1, help="hidden together")
    args = parser.parse_args(argv)
    try:
        print(report(args.mae, args.train, args.validation, args.alpha, args.blocks_per_pass))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(mae: str, train: str, validation: str, alpha: float, blocks_per_pass: int) -> str:
    """The table, with the share of values that are cut off.

    Raises:
      UserError: no such MAE or data, data without reals or without fakes, or without a method that
        both have and another one.
    """
    known, readings, _ = _read(mae, train, "train", alpha, blocks_per_pass)
    unknown, tested, cut_off = _read(mae, validation, "validation", alpha, blocks_per_pass)
    learned, tested_on = {*known} - {""}, {*unknown} - {""}
    if not learned & tested_on or len(tested_on) < 2:
        raise UserError(
            f"--train has fakes of {', '.join(sorted(learned))} and --validation of "
            f"{', '.join(sorted(tested_on))}; name data with two methods or more, one in both"
        )
    lines = [
        "| read | the method learned | other methods |",
        "|---|--:|--:|",
    ]
    for name in readings:
        own, others = mean_aucs((known, readings[name]), (unknown, tested[name]))
        lines.append(f"| {name} | {100 * own:.1f} | {100 * others:.1f} |")
    return "\n".join(
        [
            *lines,
            "",
            f"{100 * cut_off:.1f} % of the values of real faces are cut off at alpha={alpha:g}.",
        ]
    )


def read_residuals(
    images: Float32[np.ndarray, "n size size 3"],
    differences: Float32[np.ndarray, "n size size 3"],
    alpha: float,
) -> Readings:
    """What the regressions read.

    Args:
      images: pixels in [0, 1].
      differences: inpainted minus original pixels, in [-1, 1].
    """
    from rffr_jax.evaluation.energy_reference import energy_features
    from rffr_jax.experiments.energy_reference import RESIDUAL_LEVELS

    amplified = RESIDUAL_LEVELS * np.clip(alpha * differences, -1, 1)
    of_image = np.stack([energy_features(255 * image) for image in images])
    of_residual = np.stack([energy_features(residual) for residual in amplified])
    sizes = np.log(np.stack([_cells(abs(residual)) for residual in differences]) + SMALL)
    return {
        "image, fine detail": of_image,
        "residual, fine detail": of_residual,
        BOTH: np.concatenate([of_image, of_residual], axis=1),
        "residual, size in cells": sizes,
        "residual, mean in cells": np.stack([_cells(residual) for residual in differences]),
    }


def mean_aucs(
    train: tuple[Sequence[str], Float32[np.ndarray, "n features"]],
    validation: tuple[Sequence[str], Float32[np.ndarray, "m features"]],
) -> tuple[float, float]:
    """Mean AUC on the method that was learned, and on the others; of each method in turn.

    Args:
      train: the method of every image, "" of reals, and what is read of it.
      validation: the same of other people.
    """
    from rffr_jax.evaluation.energy_reference import fit_energy_reference
    from rffr_jax.evaluation.metrics import auc

    (known, features), (unknown, tested) = (
        (np.array(names), x) for names, x in (train, validation)
    )
    own, others = [], []
    for learned in sorted({*known} - {""}):
        rows = (known == learned) | (known == "")
        regression = fit_energy_reference(features[rows], (known[rows] != "").astype(int))
        scores = regression.decision_function(tested)
        for method in sorted({*unknown} - {""}):
            rows = (unknown == method) | (unknown == "")
            found = auc((unknown[rows] != "").astype(int), scores[rows])
            (own if method == learned else others).append(found)
    return float(np.mean(own)), float(np.mean(others))


def _cells(values: Float32[np.ndarray, "size size 3"]) -> Float32[np.ndarray, " features"]:
    from rffr_jax.evaluation.energy_reference import CELLS

    return cv2.resize(values, (CELLS, CELLS), interpolation=cv2.INTER_AREA).ravel()


def _read(
    mae: str, spec: str, split: str, alpha: float, blocks_per_pass: int
) -> tuple[list[str], Readings, float]:
    """The method of every image, what is read of it, and the share of reals' values cut off.

    That share is of the pixels that a block covers.
    """
    from configs import residual
    from rffr_jax.cluster.sharding import make_mesh
    from rffr_jax.data.specs import load_dataset
    from rffr_jax.evaluation.metrics import require_both_classes
    from rffr_jax.evaluation.residuals import residual_arrays
    from rffr_jax.examples import FAKE
    from rffr_jax.runs.model_names import folder_of_model

    dataset = load_dataset(spec, default_split=split)
    require_both_classes(np.array([example.label for example in dataset.examples]), spec)
    indices, arrays = residual_arrays(
        dataset,
        folder_of_model(mae, "--mae"),
        make_mesh(),
        residual.get_config(),
        alpha=1.0,
        blocks_per_pass=blocks_per_pass,
    )
    found = [dataset.examples[index] for index in indices]
    methods = [example.method if example.label == FAKE else "" for example in found]
    reals = arrays["residual"][np.array(methods) == ""]
    covered = arrays["residual"].any(axis=(0, 3))
    cut_off = float((abs(alpha * reals[:, covered]) >= 1).mean())
    return methods, read_residuals(arrays["image"], arrays["residual"], alpha), cut_off


if __name__ == "__main__":
    sys.exit(run_program(main, models=True))
