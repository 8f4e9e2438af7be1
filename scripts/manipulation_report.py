"""What betrays each manipulation: statistics, a cross-manipulation matrix, a contact sheet.

    python scripts/manipulation_report.py [--input DIR] [--size 64] [--sources 400] [--seed 0]
        [--sheet manipulations.png]

Faces are procedural ones, or the square aligned photographs below --input. The matrix: features
are the log energies of high-pass filters in a grid of cells; a logistic regression is trained on
one manipulation (row) and tested on another (column), on other sources. An off-diagonal mean over
0.9 means that the artefact families overlap.
"""

import argparse
import pathlib
import sys

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rffr_jax.cluster.command_line import run_program
from rffr_jax.data.readers.folder import list_images
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.alignment import AlignedFace
from rffr_jax.images.photographs import read_aligned_face
from rffr_jax.synthetic.capture import CapturedImage, capture
from rffr_jax.synthetic.manipulations import IDENTITY, METHODS
from rffr_jax.synthetic.procedural_face import render_face

CELLS = 8  # of the feature grid, on a side
OVERLAP = 0.9
FILTERS = (
    np.array([[-1, 1]]), np.array([[-1], [1]]), np.array([[1, -1], [-1, 1]]),
    np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Runs the report; returns its exit code."""
    parser = argparse.ArgumentParser(
        description="What betrays each manipulation.", allow_abbrev=False
    )
    parser.add_argument("--input", help="folder of square aligned photographs")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--sources", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", default="manipulations.png", help="PNG to write")
    args = parser.parse_args(argv)
    try:
        if args.sources < 20:
            raise UserError(f"--sources {args.sources}: at least 20 are needed")
        faces = read_faces(args.input, args.sources, args.seed, round(1.5 * args.size))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    taken = {
        method: [
            capture(face, faces[(i + 1) % len(faces)], method, (args.seed, i), args.size)
            for i, face in enumerate(faces)
        ]
        for method in (IDENTITY, *METHODS)
    }
    print(f"{len(faces)} sources at {args.size} pixels, {args.input or 'procedural faces'}")
    print_statistics(taken)
    print_matrix(cross_matrix(taken))
    cv2.imwrite(args.sheet, cv2.cvtColor(contact_sheet(taken, 8), cv2.COLOR_RGB2BGR))
    print(f"contact sheet: {args.sheet}")
    return 0


def read_faces(folder: str | None, count: int, seed: int, size: int) -> list[AlignedFace]:
    """`count` procedural faces at `size` pixels, or the first usable photographs below `folder`.

    Files that cannot be used are named with the reason and skipped.
    """
    if folder is None:
        return [render_face(seed, i, size) for i in range(count)]
    if not pathlib.Path(folder).is_dir():
        raise UserError(f"--input {folder}: no such folder")
    faces = []
    for path in list_images(pathlib.Path(folder)):
        try:
            faces.append(read_aligned_face(pathlib.Path(folder, path), None, size))
        except BadImageError as error:
            print(f"skipped {error.name}: {error.reason}", file=sys.stderr)
        if len(faces) == count:
            return faces
    raise UserError(f"--input {folder}: {len(faces)} usable images, --sources asks for {count}")


def features(image: np.ndarray) -> np.ndarray:
    """Log energy of each high-pass filter in each cell of a grid."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    energies = [cv2.filter2D(grey, -1, kernel.astype(np.float32)) ** 2 for kernel in FILTERS]
    cells = [cv2.resize(e, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for e in energies]
    return np.log(np.stack(cells).ravel() + 1)


def cross_matrix(taken: dict[str, list[CapturedImage]]) -> np.ndarray:
    """AUC of a classifier trained on one manipulation (row), tested on another (column).

    It is trained on the first half of the sources and tested on the second.
    """
    described = {
        method: np.stack([features(one.image) for one in ones]) for method, ones in taken.items()
    }
    half = len(described[IDENTITY]) // 2
    real = described[IDENTITY]
    matrix = np.zeros((len(METHODS), len(METHODS)))
    for row, trained in enumerate(METHODS):
        fit = np.concatenate([real[:half], described[trained][:half]])
        labels = np.repeat([0, 1], half)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        model.fit(fit, labels)
        for column, tested in enumerate(METHODS):
            unseen = np.concatenate([real[half:], described[tested][half:]])
            truth = np.repeat([0, 1], len(real) - half)
            matrix[row, column] = roc_auc_score(truth, model.decision_function(unseen))
    return matrix


def print_statistics(taken: dict[str, list[CapturedImage]]) -> None:
    """Colour, noise and file size of the reals and of each manipulation."""
    names = ("red", "green", "blue", "spread", "noise", "inside", "bytes", "changed")
    print(f"{'':18s}" + "".join(f"{name:>9s}" for name in names))
    for method, ones in taken.items():
        values = np.mean([_statistics(one) for one in ones], 0)
        print(f"{method:18s}" + "".join(f"{value:9.2f}" for value in values))
    print("noise: median |Laplacian| of the image; inside: mean |Laplacian| at the inner face;")
    print("changed: share of pixels that the mask covers")


def _statistics(one: CapturedImage) -> list[float]:
    size = one.image.shape[0]
    grey = cv2.cvtColor(one.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    inner = fine[size * 45 // 100 : size * 80 // 100, size * 35 // 100 : size * 65 // 100]
    colours = one.image.mean((0, 1)).tolist()
    noise, inside = float(np.median(fine)), float(inner.mean())
    return [*colours, float(grey.std()), noise, inside, len(one.encoded), float(one.mask.mean())]


def print_matrix(matrix: np.ndarray) -> None:
    """The AUCs, and whether the families overlap."""
    print("\nAUC of high-pass energies + logistic regression; row: trained on, column: tested on")
    print(f"{'':18s}" + "".join(f"{method:>18s}" for method in METHODS))
    for method, row in zip(METHODS, matrix, strict=True):
        print(f"{method:18s}" + "".join(f"{value:18.3f}" for value in row))
    others = matrix[~np.eye(len(METHODS), dtype=bool)].mean()
    verdict = "the families OVERLAP" if others > OVERLAP else "the families are disjoint enough"
    print(f"off-diagonal mean {others:.3f} (limit {OVERLAP}): {verdict}")


def contact_sheet(taken: dict[str, list[CapturedImage]], rows: int) -> np.ndarray:
    """RGB. A row a face: the real and its fakes; the differences times 4; the masks."""
    lines = []
    for i in range(min(rows, len(taken[IDENTITY]))):
        real = taken[IDENTITY][i].image
        fakes = [taken[method][i] for method in METHODS]
        changes = [
            np.clip(128 + 4 * (fake.image.astype(int) - real), 0, 255).astype(np.uint8)
            for fake in fakes
        ]
        masks = [cv2.merge([np.rint(fake.mask * 255).astype(np.uint8)] * 3) for fake in fakes]
        lines.append(np.hstack([real, *(fake.image for fake in fakes), *changes, *masks]))
    return np.vstack(lines)


if __name__ == "__main__":
    sys.exit(run_program(main))
