"""How far a face detector's five landmarks lie from annotated ones.

    python scripts/landmark_error.py --landmarks CSV [--input DIR] [--detector retinaface|yunet]
        [--detector-weights FILE] [--limit N]

The CSV has the header image,x0,y0,...,x67,y67 (68 points, in pixels of the image; further columns
are not read); its images lie in --input, by default beside it. Of the 68 points, the eyes are the
means of their outlines 36-41 and 42-47, the nose tip is 30, the mouth corners 48 and 54. Printed
are the share of images in which a face is found, the mean distance over the five points and the
images, divided by the distance of the eyes, and the milliseconds that detection takes. Where
several faces are found, the one nearest to the annotated points counts.
"""

import argparse
import csv
import pathlib
import sys
import time

import numpy as np

from rffr_jax.cluster.command_line import run_program
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces.detectors import load_detector
from rffr_jax.faces.face import FaceDetector
from rffr_jax.faces.frames import evenly_spaced
from rffr_jax.images.decode import read_full_image


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description="How far a face detector's landmarks lie from annotated ones.",
        allow_abbrev=False,
    )
    parser.add_argument("--landmarks", required=True, type=pathlib.Path, help="CSV of 68 points")
    parser.add_argument("--input", type=pathlib.Path, help="folder of the images")
    parser.add_argument("--detector", choices=("retinaface", "yunet"), default="retinaface")
    parser.add_argument("--detector-weights", type=pathlib.Path, help="ONNX file")
    parser.add_argument("--limit", type=int, help="take only so many images, evenly spaced")
    args = parser.parse_args(argv)
    try:
        if args.limit is not None and args.limit < 1:
            raise UserError(f"--limit {args.limit}: must be at least 1")
        detector = load_detector(args.detector, args.detector_weights)
        annotated = read_landmarks(args.landmarks, args.input or args.landmarks.parent)
        measure(detector, [annotated[i] for i in evenly_spaced(len(annotated), args.limit)])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def read_landmarks(
    file: pathlib.Path, folder: pathlib.Path
) -> list[tuple[pathlib.Path, np.ndarray]]:
    """The images and their five points [5, 2] in pixels."""
    if not file.is_file():
        raise UserError(f"--landmarks {file}: no such file")
    annotated = []
    with file.open(newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), 2):
            try:
                points = np.array([[float(row[f"{a}{i}"]) for a in "xy"] for i in range(68)])
                path = folder / row["image"]
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"--landmarks {file}: line {number} lacks a column or a number ({error})"
                ) from None
            eyes = [points[36:42].mean(0), points[42:48].mean(0)]
            annotated.append((path, np.stack([*eyes, points[30], points[48], points[54]])))
    if not annotated:
        raise UserError(f"--landmarks {file}: holds no images")
    return annotated


def measure(detector: FaceDetector, annotated: list[tuple[pathlib.Path, np.ndarray]]) -> None:
    """Prints the share found, the error and the time."""
    errors, seconds, read = [], 0.0, 0
    for path, points in annotated:
        try:
            image = read_full_image(path, turn=False)
        except BadImageError as error:
            print(f"skipped {error.name}: {error.reason}", file=sys.stderr)
            continue
        read += 1
        start = time.perf_counter()
        faces = detector.detect(image)
        seconds += time.perf_counter() - start
        if faces:
            distances = [np.linalg.norm(face.landmarks - points, axis=1).mean() for face in faces]
            errors.append(min(distances) / np.linalg.norm(points[0] - points[1]))
    if not errors:
        raise UserError(f"no face found in {read} images that could be read")
    name = type(detector).__name__
    print(f"{name}, weights {detector.digest[:12]}: faces in {len(errors)} of {read} images")
    print(
        f"error over eye distance: mean {np.mean(errors):.4f}, median {np.median(errors):.4f}, "
        f"95 % below {np.quantile(errors, 0.95):.4f}"
    )
    print(f"{1000 * seconds / read:.1f} ms an image, one thread")


if __name__ == "__main__":
    sys.exit(run_program(main))
