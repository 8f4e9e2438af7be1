"""How far the five landmarks of a face detector, or 68 of a model, lie from annotated ones.

    python scripts/landmark_error.py --landmarks CSV [--input DIR] [--detector retinaface|yunet]
        [--detector-weights FILE] [--points 5|68] [--landmarks-weights FILE] [--limit N]

The CSV has the header image,x0,y0,...,x67,y67 (68 points, in pixels of the image; further columns
are not read); its images lie in --input, by default beside it. Of the 68 points, the eyes are the
means of their outlines 36-41 and 42-47, the nose tip is 30, the mouth corners 48 and 54. With
--points 68 the model's 68 points are compared (dlib's, or those of an ONNX file), and beside them
the mean face fitted to the detector's five. Printed are the share of images in which a face is
found, the mean distance over the points and the images, divided by the distance of the eyes, how
far the hulls of the 68 points overlap (intersection over union), and the milliseconds that it
takes. Where several faces are found, the one nearest to the annotated
points counts.
"""

import argparse
import csv
import pathlib
import sys
import time

import numpy as np

from rffr_jax.cluster.command_line import run_program
from rffr_jax.data.selection import evenly_spaced
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces.detectors import load_detector
from rffr_jax.faces.face import FaceDetector
from rffr_jax.faces.landmark_models import LandmarkModel, load_landmark_model
from rffr_jax.images.decode import read_full_image
from rffr_jax.images.landmarks import ALL, FIVE, to_68_landmarks, to_five_landmarks
from rffr_jax.images.polygons import hull_overlap

DETECTOR, MODEL, TEMPLATE = "five points", "68 points", "68 of the mean face"


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--landmarks", required=True, type=pathlib.Path, help="CSV of 68 points")
    parser.add_argument("--input", type=pathlib.Path, help="folder of the images")
    parser.add_argument("--detector", choices=("retinaface", "yunet"), default="retinaface")
    parser.add_argument("--detector-weights", type=pathlib.Path, help="ONNX file")
    parser.add_argument("--points", type=int, choices=(FIVE, ALL), default=FIVE)
    parser.add_argument("--landmarks-weights", type=pathlib.Path, help="ONNX file of 68 points")
    parser.add_argument("--limit", type=int, help="take only so many images, evenly spaced")
    args = parser.parse_args(argv)
    try:
        if args.limit is not None and args.limit < 1:
            raise UserError(f"--limit {args.limit}: must be at least 1")
        detector = load_detector(args.detector, args.detector_weights)
        model = None
        if args.points == ALL or args.landmarks_weights:
            model = load_landmark_model(args.landmarks_weights)
        annotated = read_landmarks(args.landmarks, args.input or args.landmarks.parent)
        chosen = evenly_spaced(annotated, args.limit)
        measure(detector, model, chosen)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def read_landmarks(
    file: pathlib.Path, folder: pathlib.Path
) -> list[tuple[pathlib.Path, np.ndarray]]:
    """The images and their points [68, 2] in pixels."""
    if not file.is_file():
        raise UserError(f"--landmarks {file}: no such file")
    annotated = []
    with file.open(newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), 2):
            try:
                points = np.array([[float(row[f"{a}{i}"]) for a in "xy"] for i in range(ALL)])
                path = folder / row["image"]
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"--landmarks {file}: line {number} lacks a column or a number ({error})"
                ) from None
            annotated.append((path, points))
    if not annotated:
        raise UserError(f"--landmarks {file}: holds no images")
    return annotated


def measure(
    detector: FaceDetector,
    model: LandmarkModel | None,
    annotated: list[tuple[pathlib.Path, np.ndarray]],
) -> None:
    """Prints the share found, the errors and the times."""
    ways = (DETECTOR,) if model is None else (DETECTOR, MODEL, TEMPLATE)
    errors: dict[str, list[float]] = {way: [] for way in ways}
    overlaps: dict[str, list[float]] = {way: [] for way in ways[1:]}
    seconds = dict.fromkeys(ways, 0.0)
    read = found = 0
    for path, points in annotated:
        try:
            image = read_full_image(path, turn=False)
        except BadImageError as error:
            print(f"skipped {error.name}: {error.reason}", file=sys.stderr)
            continue
        read += 1
        start = time.perf_counter()
        faces = detector.detect(image)
        seconds[DETECTOR] += time.perf_counter() - start
        if not faces:
            continue
        found += 1
        five = to_five_landmarks(points)
        eyes = float(np.linalg.norm(five[0] - five[1]))
        face = min(faces, key=lambda face: _distance(face.landmarks, five))
        errors[DETECTOR].append(_distance(face.landmarks, five) / eyes)
        if model is not None:
            start = time.perf_counter()
            shape = model.find(image, face)
            seconds[MODEL] += time.perf_counter() - start
            for way, found_points in ((MODEL, shape), (TEMPLATE, to_68_landmarks(face.landmarks))):
                errors[way].append(_distance(found_points, points) / eyes)
                overlaps[way].append(hull_overlap(found_points, points, max(image.shape)))
    if not found:
        raise UserError(f"no face found in {read} images that could be read")
    name = type(detector).__name__
    print(f"{name}, weights {detector.digest[:12]}: faces in {found} of {read} images")
    if model is not None:
        print(f"68 points: {type(model).__name__}, weights {model.digest[:12]}")
    for way, values in errors.items():
        print(
            f"{way}: error over eye distance: mean {np.mean(values):.4f}, median "
            f"{np.median(values):.4f}, 95 % below {np.quantile(values, 0.95):.4f}"
        )
    for way, values in overlaps.items():
        print(
            f"{way}: overlap of the hull: mean {np.mean(values):.3f}, 5 % below "
            f"{np.quantile(values, 0.05):.3f}"
        )
    for way in ways[:2]:
        print(f"{way}: {1000 * seconds[way] / read:.1f} ms an image, one thread")


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other, axis=1).mean())


if __name__ == "__main__":
    sys.exit(run_program(main))
