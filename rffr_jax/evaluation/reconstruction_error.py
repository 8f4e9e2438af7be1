"""Does a MAE know faces? Its squared error beside inpainting without a network.

A MAE that loses to a ridge regression on its own training images, or to Telea's inpainting, has not
learnt faces: its residuals show what it cannot draw, not what was manipulated. An error on unseen
faces above that on training faces is memorising, and small residuals on known faces teach a
detector a difference that no other face has.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from rffr_jax.data.augmentation import is_grey
from rffr_jax.examples import Example
from rffr_jax.images.alignment import template_landmarks
from rffr_jax.images.landmarks import to_68_landmarks
from rffr_jax.images.polygons import hull_mask
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.simple_inpainting import RidgeInpainter, inpaint_telea, mean_face

MOST_TRAINING, MOST_UNSEEN = 1000, 500
"""Images that are looked at, evenly spaced over the data."""

MOST_BYTES = 2**28
"""Of the training images in float32: 290 of the paper's size."""

MEMORISED = 1.05
"""An error on unseen faces of more than so many times that on training faces is memorising."""


Images = UInt8[np.ndarray, "n size size 3"]


def training_sample_size(image_size: int) -> int:
    """How many training images a ridge regression is fitted on, at most."""
    return max(2, min(MOST_TRAINING, MOST_BYTES // (4 * 3 * image_size**2)))


def measure_reconstructions(
    examples: Sequence[Example],
    unseen: Images,
    reconstructed: Float32[np.ndarray, "n size size 3"],
    training: UInt8[np.ndarray, "m size size 3"],
    training_reconstructed: Float32[np.ndarray, "m size size 3"],
    blocks: BlockGrid,
    patch: int,
    ridge: RidgeInpainter,
) -> dict[str, Any]:
    """Squared errors of a MAE, the mean face, Telea and a ridge regression, inside the blocks.

    Args:
      examples: of the unseen faces; real ones.
      unseen, training: pixels in [0, 255].
      reconstructed, training_reconstructed: of the same images by the MAE, block by block, in
        about [0, 1].
      patch: side of a patch in pixels.
      ridge: fitted on `training`.

    Returns:
      `groups`: for `all`, every data set, `grey` and `colour` the number of images `n` and, for
      `blocks` and their parts `inside` and `outside` the face, the mean squared error by method
      (pixels in [0, 1]). The face is the hull of the template's points: it is right for aligned
      crops only. `training`: the MAE's error on its training images, weighted so that grey ones
      count as much as among unseen faces. `to_training`, `to_ridge`, `to_telea`: its error on
      unseen faces over that on training ones and over those of the others.
    """
    filled = {
        "mae": reconstructed,
        "mean_face": np.broadcast_to(mean_face(training), reconstructed.shape),
        "telea": inpaint_telea(unseen, blocks, patch),
        "ridge": ridge.inpaint(unseen),
    }
    truth = unseen.astype(np.float32) / 255
    squares = {name: np.square(images - truth).mean(axis=3) for name, images in filled.items()}
    regions = _regions(unseen.shape[1], blocks, patch)
    groups: dict[str, dict[str, Any]] = {
        name: {"n": int(rows.sum())}
        | {
            region: {
                method: float(error[rows][:, place].mean()) for method, error in squares.items()
            }
            for region, place in regions.items()
            if place.any()
        }
        for name, rows in _groups(examples, unseen).items()
        if rows.any()
    }
    error = np.square(training_reconstructed - training.astype(np.float32) / 255).mean(axis=3)
    known = _mean_in_proportion(
        error[:, regions["blocks"]].mean(axis=1), _are_grey(training), _are_grey(unseen)
    )
    mine = groups["all"]["blocks"]
    return {
        "groups": groups,
        "training": {"n": len(training), "mae": known},
        "to_training": mine["mae"] / max(known, 1e-12),
        **{f"to_{name}": mine["mae"] / max(mine[name], 1e-12) for name in ("ridge", "telea")},
    }


def summary(report: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that go into the log of a training."""
    groups = report["groups"]["all"]
    numbers = dict(groups["blocks"])
    numbers |= {f"{name}_inside_face": error for name, error in groups.get("inside", {}).items()}
    numbers["mae_on_training_images"] = report["training"]["mae"]
    return numbers | {name: report[name] for name in ("to_training", "to_ridge", "to_telea")}


def describe(numbers: Mapping[str, float | int]) -> str:
    """`summary` in a sentence."""
    return (
        f"squared error on unseen faces: MAE {numbers['mae']:.4f}, ridge regression "
        f"{numbers['ridge']:.4f}, Telea {numbers['telea']:.4f}, mean face "
        f"{numbers['mean_face']:.4f}; MAE on training faces {numbers['mae_on_training_images']:.4f}"
    )


def doubts(numbers: Mapping[str, float | int]) -> list[str]:
    """Why a MAE with this `summary` should not be used as it is; empty if nothing speaks against.

    A NaN counts as a loss.
    """
    found = [
        f"its error on unseen faces is {numbers['mae'] / error:.2f} times that of {method}"
        for error, method in _simple_errors(numbers)
        if not numbers["mae"] < error
    ]
    if not numbers["to_training"] <= MEMORISED:
        found.append(
            f"its error on unseen faces is {numbers['to_training']:.2f} times that on training "
            "faces: it has memorised some"
        )
    return found


def error_ratio(numbers: Mapping[str, float | int]) -> float:
    """The MAE's error over that of the best inpainting without a network; below 1 it is better."""
    return numbers["mae"] / min(error for error, _ in _simple_errors(numbers))


def _simple_errors(numbers: Mapping[str, float | int]) -> list[tuple[float, str]]:
    names = {
        "ridge": "a ridge regression",
        "telea": "Telea's inpainting",
        "mean_face": "the mean face",
    }
    return [(max(numbers[name], 1e-12), method) for name, method in names.items()]


def _regions(size: int, blocks: BlockGrid, patch: int) -> dict[str, Bool[np.ndarray, "size size"]]:
    covered = blocks.covered(patch)
    face = hull_mask(to_68_landmarks(template_landmarks(size)), size) > 0
    return {"blocks": covered, "inside": covered & face, "outside": covered & ~face}


def _groups(examples: Sequence[Example], images: Images) -> dict[str, Bool[np.ndarray, " n"]]:
    datasets = np.array([example.dataset for example in examples])
    grey = _are_grey(images)
    groups = {"all": np.ones(len(images), bool)}
    groups |= {f"dataset {name}": datasets == name for name in sorted(set(datasets))}
    return groups | {"grey": grey, "colour": ~grey}


def _are_grey(images: Images) -> Bool[np.ndarray, " n"]:
    return np.array([is_grey(image) for image in images])


def _mean_in_proportion(
    errors: Float32[np.ndarray, " m"], grey: Bool[np.ndarray, " m"], unseen: Bool[np.ndarray, " n"]
) -> float:
    """The mean of training images' errors, grey ones with their share among the unseen images.

    The plain mean where unseen images are of a kind that the training images lack. Soft grey
    portraits are easier than sharp colour photographs, and another mix is no memorising.
    """
    kinds = [(grey == kind, float((unseen == kind).mean())) for kind in (True, False)]
    kinds = [(rows, share) for rows, share in kinds if share]
    if not all(rows.any() for rows, _ in kinds):
        return float(errors.mean())
    return float(sum(share * errors[rows].mean() for rows, share in kinds))
