"""What betrays each manipulation: statistics, a cross-manipulation matrix, a contact sheet.

    python scripts/manipulation_report.py [--input DIR [--landmarks CSV]] [--size 64]
        [--sources 400] [--seed 0] [--sheet manipulations.png]

Faces are procedural ones, or the square aligned photographs below --input. With --landmarks (as
for make_manipulations.py) the photographs that it lists, and the manipulations of frames. The
matrix: features are the log energies of high-pass filters in a grid of cells; a logistic
regression is trained on one manipulation (row) and tested on another (column), on other sources;
with --landmarks on other people, whose donors and texture model are their own.
"""

import argparse
import pathlib
import sys

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from rffr_jax.cluster.command_line import run_program
from rffr_jax.data.readers.folder import list_images
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.evaluation.energy_reference import energy_features, fit_energy_reference
from rffr_jax.images.alignment import AlignedFace
from rffr_jax.images.photographs import read_aligned_face
from rffr_jax.synthetic.capture import CapturedImage, capture, capture_frame
from rffr_jax.synthetic.landmark_manipulations import (
    LANDMARK_METHODS,
    manipulate_frame,
    pick_donor,
)
from rffr_jax.synthetic.landmark_table import read_landmark_table
from rffr_jax.synthetic.landmarked_frame import LandmarkedFrame
from rffr_jax.synthetic.manipulations import IDENTITY, METHODS
from rffr_jax.synthetic.procedural_face import render_face
from rffr_jax.synthetic.texture_model import fit_texture_model


def main(argv: list[str] | None = None) -> int:
    """Runs the report; returns its exit code."""
    parser = argparse.ArgumentParser(
        description="What betrays each manipulation.", allow_abbrev=False
    )
    parser.add_argument("--input", help="folder of square aligned photographs")
    parser.add_argument("--landmarks", help="CSV of 68 landmarks an image of --input")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--sources", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", default="manipulations.png", help="PNG to write")
    args = parser.parse_args(argv)
    try:
        if args.sources < 20:
            raise UserError(f"--sources {args.sources}: at least 20 are needed")
        if args.landmarks is None:
            faces = read_faces(args.input, args.sources, args.seed, round(1.5 * args.size))
            taken = capture_faces(faces, args.seed, args.size)
        else:
            folder = pathlib.Path(args.input or "")
            halves = read_frames(folder, args.landmarks, args.sources, args.seed)
            taken = capture_frames(halves, args.seed, args.size)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.sources} sources at {args.size} pixels, {args.input or 'procedural faces'}")
    print_statistics(taken)
    print_probes(taken)
    print_matrix(cross_matrix(taken), [method for method in taken if method != IDENTITY])
    cv2.imwrite(args.sheet, cv2.cvtColor(contact_sheet(taken, 8), cv2.COLOR_RGB2BGR))
    print(f"contact sheet: {args.sheet}")
    return 0


def capture_faces(faces: list[AlignedFace], seed: int, size: int) -> dict[str, list[CapturedImage]]:
    """The reals and every manipulation of METHODS; a donor is the next face."""
    return {
        method: [
            capture(face, faces[(i + 1) % len(faces)], method, (seed, i), size)
            for i, face in enumerate(faces)
        ]
        for method in (IDENTITY, *METHODS)
    }


def capture_frames(
    halves: list[list[LandmarkedFrame]], seed: int, size: int
) -> dict[str, list[CapturedImage]]:
    """The reals and every one of LANDMARK_METHODS; donors and textures are of the same half."""
    taken = {method: [] for method in (IDENTITY, *LANDMARK_METHODS)}
    for number, frames in enumerate(halves):
        textures = fit_texture_model(frames)
        for i, frame in enumerate(frames):
            key = (seed, number, i)
            rng = np.random.default_rng(np.random.SeedSequence(key))
            donor = pick_donor(frame, frames, rng)
            taken[IDENTITY].append(capture_frame(frame.image, frame.landmarks, key, size))
            for method in LANDMARK_METHODS:
                fake = manipulate_frame(method, frame, donor, textures, rng)
                taken[method].append(
                    capture_frame(fake.image, frame.landmarks, key, size, fake.mask)
                )
    return taken


def read_frames(
    folder: pathlib.Path, landmarks: str, count: int, seed: int
) -> list[list[LandmarkedFrame]]:
    """Frames of the people in the table, drawn at random: two halves without a person in common.

    Files that cannot be used are named with the reason and skipped.
    """
    files = read_landmark_table(pathlib.Path(landmarks), folder)
    rng = np.random.default_rng(np.random.SeedSequence([seed]))
    people = rng.permutation(sorted({file.person for file in files})).tolist()
    first = set(people[: len(people) // 2])
    halves: list[list[LandmarkedFrame]] = [[], []]
    for i in rng.permutation(len(files)):
        half = halves[files[i].person not in first]
        if len(half) == count // 2:
            continue
        try:
            half.append(files[i].load())
        except BadImageError as error:
            print(f"skipped {error.name}: {error.reason}", file=sys.stderr)
    usable = 2 * min(map(len, halves))
    if usable < count // 2 * 2:
        raise UserError(
            f"--landmarks {landmarks}: {usable} usable frames in two halves without a person in "
            f"common, --sources asks for {count}"
        )
    return halves


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


def cross_matrix(taken: dict[str, list[CapturedImage]]) -> np.ndarray:
    """AUC of a classifier trained on one manipulation (row), tested on another (column).

    It is trained on the first half of the sources and tested on the second.
    """
    described = {
        method: np.stack([energy_features(one.image) for one in ones])
        for method, ones in taken.items()
    }
    real = described.pop(IDENTITY)
    return np.array([aucs(real, one, list(described.values())) for one in described.values()])


def aucs(real: np.ndarray, trained: np.ndarray, tested: list[np.ndarray]) -> list[float]:
    """Of a logistic regression of the first halves of `real` and `trained`, on the second halves of
    `real` and of each of `tested`."""
    half = len(real) // 2
    known = np.concatenate([real[:half], trained[:half]])
    model = fit_energy_reference(known, np.repeat([0, 1], half))
    truth, low = np.repeat([0, 1], len(real) - half), model.decision_function(real[half:])
    return [
        float(roc_auc_score(truth, [*low, *model.decision_function(one[half:])])) for one in tested
    ]


def print_probes(taken: dict[str, list[CapturedImage]]) -> None:
    """AUCs that stay at chance where the manipulation is all that tells real from fake."""

    def describe_border(one: CapturedImage) -> np.ndarray:
        image, ring = one.image.copy(), len(one.image) // 16
        image[ring:-ring, ring:-ring] = 0
        image[len(image) * 3 // 4 :] = 0  # chins reach the lower border
        return energy_features(image)

    borders = {name: np.stack([describe_border(x) for x in ones]) for name, ones in taken.items()}
    sizes = {name: [len(x.encoded) for x in ones] for name, ones in taken.items()}
    print("\nAUC of probes: of the image's border; of the file's size (over 0.5: fakes are larger)")
    for name in [name for name in taken if name != IDENTITY]:
        (border,) = aucs(borders[IDENTITY], borders[name], [borders[name]])
        size = roc_auc_score(np.repeat([0, 1], len(sizes[name])), [*sizes[IDENTITY], *sizes[name]])
        print(f"{name:20s} border {border:.3f}  file size {size:.3f}")


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


def print_matrix(matrix: np.ndarray, methods: list[str]) -> None:
    """The AUCs and their mean off the diagonal."""
    print("\nAUC of high-pass energies + logistic regression; row: trained on, column: tested on")
    print(f"{'':20s}" + "".join(f"{method:>20s}" for method in methods))
    for method, row in zip(methods, matrix, strict=True):
        print(f"{method:20s}" + "".join(f"{value:20.3f}" for value in row))
    print(f"off-diagonal mean {matrix[~np.eye(len(methods), dtype=bool)].mean():.3f}")


def contact_sheet(taken: dict[str, list[CapturedImage]], rows: int) -> np.ndarray:
    """RGB. A row a face: the real and its fakes; the differences times 4; the masks."""
    lines = []
    for i in range(min(rows, len(taken[IDENTITY]))):
        real = taken[IDENTITY][i].image
        fakes = [ones[i] for method, ones in taken.items() if method != IDENTITY]
        changes = [
            np.clip(128 + 4 * (fake.image.astype(int) - real), 0, 255).astype(np.uint8)
            for fake in fakes
        ]
        masks = [cv2.merge([np.rint(fake.mask * 255).astype(np.uint8)] * 3) for fake in fakes]
        lines.append(np.hstack([real, *(fake.image for fake in fakes), *changes, *masks]))
    return np.vstack(lines)


if __name__ == "__main__":
    sys.exit(run_program(main))
