"""Makes the table of 68 landmarks that make_manipulations.py reads: image,person,x0,y0,...,x67,y67.

    python scripts/find_landmarks.py --input PHOTOGRAPHS --output PHOTOGRAPHS/landmarks.csv
        [--landmarks-weights FILE] [--detector retinaface|yunet] [--detector-weights FILE]
    python scripts/find_landmarks.py --input tfds:DIR/NAME#train --output FRAMES

Photographs: the face detector finds the largest face of each image below a folder, and an ONNX file
of yours, or dlib's model of the extra `landmarks`, its points. The person is the folder that the
image lies in, or the image itself where that is PHOTOGRAPHS. A file without a face, or that its
EXIF orientation turns, is named and left out.

A dataset spec: the reals that have 68 landmarks of their own (records of `prepare_faces.py
--landmarks 68`) are written to FRAMES as PNG, with FRAMES/landmarks.csv. The person is the cluster
that an example belongs to. It stands for a person where nobody is in two of them.
"""

import argparse
import csv
import pathlib
import shutil
import sys
from collections.abc import Iterator

import numpy as np

from rffr_jax.cluster.command_line import run_program
from rffr_jax.data.origins import PROCEDURAL
from rffr_jax.data.readers.folder import list_images
from rffr_jax.data.selection import keep_reals
from rffr_jax.data.specs import KINDS, load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces.detectors import DETECTORS, load_detector
from rffr_jax.faces.landmark_models import load_landmark_model
from rffr_jax.images.decode import read_full_image
from rffr_jax.images.image_formats import encode_crop
from rffr_jax.images.landmarks import ALL, landmark_count, load_face
from rffr_jax.runs.atomic_files import atomic_write

COLUMNS = ("image", "person", *(f"{axis}{i}" for i in range(ALL) for axis in "xy"))
Row = tuple[str, str, np.ndarray]


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", required=True, help="folder of photographs, or a dataset spec")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="CSV, or a new folder")
    parser.add_argument("--landmarks-weights", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--detector", choices=DETECTORS, default="retinaface")
    parser.add_argument("--detector-weights", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        if args.output.exists():
            raise UserError(f"--output {args.output}: exists already; name one that does not")
        kind, colon, _ = args.input.partition(":")
        if colon and kind == PROCEDURAL:
            raise UserError(
                f"--input {args.input}: drawn faces are no files; make_manipulations.py draws "
                "faces itself, so name photographs or prepared records"
            )
        if colon and kind in KINDS:
            count = _export(args.input, args.output)
        else:
            count = _write(args.output, find_landmarks(args))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{count} faces with {ALL} landmarks")
    return 0


def find_landmarks(args: argparse.Namespace) -> Iterator[Row]:
    """A row for the largest face of each photograph."""
    folder = pathlib.Path(args.input)
    if not folder.is_dir():
        raise UserError(f"--input {folder}: no such folder")
    detector = load_detector(args.detector, args.detector_weights)
    model = load_landmark_model(args.landmarks_weights)
    for name in list_images(folder):
        try:
            image = read_full_image(folder / name, turn=False)
        except BadImageError as error:
            print(f"skipped {error.name}: {error.reason}", file=sys.stderr)
            continue
        faces = detector.detect(image)
        if not faces:
            print(f"skipped {folder / name}: no face found", file=sys.stderr)
            continue
        largest = max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))
        person = name.parent.as_posix() if len(name.parts) > 1 else name.stem
        yield name.as_posix(), person, model.find(image, largest)


def _export(spec: str, output: pathlib.Path) -> int:
    unfinished = output.with_name(f".{output.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        count = _write(unfinished / "landmarks.csv", _export_reals(spec, unfinished))
        unfinished.rename(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return count


def _export_reals(spec: str, folder: pathlib.Path) -> Iterator[Row]:
    reals = keep_reals(load_dataset(spec))
    for index, example in enumerate(reals.examples):
        if landmark_count(reals, index) != ALL:
            raise UserError(
                f"--input {spec}: {example.path} has no {ALL} landmarks; prepare it with "
                f"--landmarks {ALL}"
            )
        try:
            face = load_face(reals, index, 0)
        except BadImageError as error:
            print(f"skipped {error.name}: {error.reason}", file=sys.stderr)
            continue
        name = f"{index:06d}.png"
        (folder / name).write_bytes(encode_crop(face.image, "png"))
        yield name, example.cluster, face.landmarks


def _write(file: pathlib.Path, rows: Iterator[Row]) -> int:
    count = 0
    with (
        atomic_write(file) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as lines,
    ):
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(COLUMNS)
        for name, person, points in rows:
            table.writerow([name, person, *(f"{value:.2f}" for value in points.ravel())])
            count += 1
        if not count:
            raise UserError(f"no face was found, so {file} is not written")
    return count


if __name__ == "__main__":
    sys.exit(run_program(main))
