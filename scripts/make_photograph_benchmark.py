"""Builds a benchmark of real photographs with fakes made here, in units that draw people anew.

    python scripts/make_photograph_benchmark.py --input FACES --output DIR [--unit 0] [--seed 0]
        [--size 112] [--magnification 1.4] [--frames 15]

FACES holds `ffhq256/` (aligned faces, one a person), `youtube_faces68/` (frames of videos and
landmarks.csv: image,person,x0,y0,...,x67,y67) and `portraits160/` (portraits and people.csv:
image,person). DIR gets

    mae.csv   for a MAE: portraits, at most 20 of a person, and the first 250 of 600 FFHQ faces
    unit0/    for detectors: train.csv, validation.csv and test.csv with 60, 15 and 25 % of the
              people of the frames, and the next 150, 100 and 100 FFHQ faces

`--unit 1` draws the people of the frames anew and uses the same mae.csv. A frame gives a real and
eight fakes (docs/manipulations.md) with donors and textures of its split; an FFHQ face a real and a
self-blended fake, several times, so that FFHQ has about the same share of the reals and, drawn by
method, of the fakes. Crops are aligned by the landmarks, or by five points that RetinaFace finds.
All files come about in one way (rffr_jax/synthetic/photograph_capture.py).

People or pictures that two splits share, or a split and mae.csv, end the command. The same command
gives the same bytes.
"""

import argparse
import collections
import csv
import dataclasses
import itertools
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np

from rffr_jax.cluster.command_line import run_program
from rffr_jax.data.image_hashes import hash_image, near_pairs
from rffr_jax.data.readers.folder import list_images
from rffr_jax.data.selection import evenly_spaced
from rffr_jax.data.self_blending.blending import sample_parameters, self_blend
from rffr_jax.data.self_blending.pairs import METHOD as SELF_BLENDED
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces.detectors import load_detector
from rffr_jax.images.alignment import transform_points
from rffr_jax.images.decode import read_full_image
from rffr_jax.images.landmarks import ALL, LandmarkedFace, to_five_landmarks
from rffr_jax.images.photographs import SMALLEST_SIDE
from rffr_jax.synthetic.frame_fakes import FRAME_METHODS, FrameFakes
from rffr_jax.synthetic.landmark_table import FrameFile, read_landmark_table
from rffr_jax.synthetic.landmarked_frame import LandmarkedFrame
from rffr_jax.synthetic.photograph_capture import capture_photograph, crop_matrix, sample_capture
from rffr_jax.synthetic.texture_model import FEWEST_PEOPLE

COLUMNS = ("path", "label", "video", "method", "dataset", "source", "group", "landmarks", "mask")
FFHQ, FRAMES, PORTRAITS = "ffhq256", "youtube_faces68", "portraits160"
DATASETS = {FFHQ: "ffhq", FRAMES: "youtube_faces", PORTRAITS: "portraits"}
MAE, REAL = "mae", "real"
PEOPLE_SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
FFHQ_FACES = {MAE: 250, "train": 150, "validation": 100, "test": 100}  # of 600, in this order
MOST_PORTRAITS = 20  # of a person
SECONDS_BETWEEN_LINES = 30.0
_PEOPLE, _CAPTURE, _FAKE = range(3)  # what a stream of random numbers is for


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A picture, RGB in [0, 255]; 68 or five landmarks in its pixels, and who is shown."""

    folder: str
    name: str
    person: str
    image: np.ndarray
    landmarks: np.ndarray
    mask: None = None


Fakes = Iterator[tuple[str, Any]]
"""Method of each fake, and its image and mask in the pixels of the photograph."""


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    args = _parser().parse_args(argv)
    try:
        make(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make(args: argparse.Namespace) -> None:
    """Builds mae.csv where it is not there, and a unit; each in a temporary folder first."""
    source, output, unit = pathlib.Path(args.input), pathlib.Path(args.output), f"unit{args.unit}"
    if not SMALLEST_SIDE <= args.size <= 512:
        raise UserError(f"--size {args.size}: must lie between {SMALLEST_SIDE} and 512")
    if not 1 <= args.magnification <= 2:
        raise UserError(f"--magnification {args.magnification}: must lie between 1 and 2")
    if min(args.seed, args.unit) < 0 or args.frames < 1:
        raise UserError("--seed and --unit must not be negative, --frames must be 1 or more")
    if (output / unit).exists():
        raise UserError(f"--output {output}: {unit} is there already; name another --unit")
    ffhq = split_ffhq(source)
    frames = find_frames(source, args.frames)
    portraits = find_portraits(source)
    people = draw_people({file.person for file in frames}, args.seed, args.unit)
    refuse_common_people({person for _, person in portraits}, {file.person for file in frames})
    settings = {name: vars(args)[name] for name in ("size", "magnification", "seed")}
    record, hashes = output / "settings.json", output / "mae-hashes.json"
    if record.exists() and json.loads(record.read_text()) != settings:
        raise UserError(f"--output {output}: was made with {record.read_text()}; take the same")
    if (output / MAE).exists() and not record.exists():
        raise UserError(f"--output {output}: {MAE} is of a run that was stopped; remove it")
    output.mkdir(parents=True, exist_ok=True)

    if not record.exists():
        with tempfile.TemporaryDirectory(dir=output, prefix=".mae-") as folder:
            part = Part(pathlib.Path(folder), args)
            part.write(MAE, part.read_files(PORTRAITS, portraits), len(portraits))
            part.write(MAE, part.read_files(FFHQ, ffhq[MAE]), len(ffhq[MAE]))
            part.finish(MAE)
            for name in (MAE, f"{MAE}.csv"):
                shutil.move(part.folder / name, output / name)
        hashes.write_text(json.dumps(part.hashes))
        record.write_text(json.dumps(settings))
    with tempfile.TemporaryDirectory(dir=output, prefix=f".{unit}-") as folder:
        part = Part(pathlib.Path(folder) / unit, args)
        part.hashes = json.loads(hashes.read_text())
        for split, members in people.items():
            there = [file for file in frames if file.person in members]
            photographs = list(part.read_frames(there))
            count = len(photographs)
            copies = max(1, round(count / (len(FRAME_METHODS) * len(ffhq[split]))))
            part.write(split, photographs, count, part.frame_fakes(split, photographs))
            faces = part.read_files(FFHQ, ffhq[split])
            part.write(split, faces, len(ffhq[split]), part.self_blend, copies)
            part.finish(split)
        refuse_equal_pictures(part.hashes)
        part.folder.chmod(0o755)
        shutil.move(part.folder, output / unit)


# ---- which photographs


def split_ffhq(source: pathlib.Path) -> dict[str, list[tuple[pathlib.Path, str]]]:
    """Files and persons of each part, in the order of their names."""
    if not (source / FFHQ).is_dir():
        raise UserError(f"--input: {source / FFHQ} is no folder")
    root = source / FFHQ
    files = [(root / path, _name(root, root / path)) for path in list_images(root)]
    ends = np.cumsum(list(FFHQ_FACES.values())) / sum(FFHQ_FACES.values())
    ends = [0, *np.rint(ends * len(files)).astype(int).tolist()]
    if any(start == end for start, end in itertools.pairwise(ends)):
        raise UserError(f"--input {source}: {len(files)} faces in {FFHQ} are too few to part")
    parts = zip(FFHQ_FACES, itertools.pairwise(ends), strict=True)
    return {part: files[start:end] for part, (start, end) in parts}


def find_frames(source: pathlib.Path, most: int) -> list[FrameFile]:
    """At most `most` evenly spaced frames of each person."""
    files = read_landmark_table(source / FRAMES / "landmarks.csv", source / FRAMES)
    return _at_most(sorted(files, key=lambda f: str(f.path)), most, lambda file: file.person)


def find_portraits(source: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """Files and persons, at most `MOST_PORTRAITS` of each."""
    table = source / PORTRAITS / "people.csv"
    if not table.is_file():
        raise UserError(f"--input {source}: {PORTRAITS}/people.csv is not there")
    with table.open(newline="") as lines:
        reader = csv.DictReader(lines)
        if not {"image", "person"} <= set(reader.fieldnames or ()):
            raise UserError(f"{table}: its header must hold image and person")
        files = [(table.parent / row["image"], row["person"]) for row in reader]
    return _at_most(files, MOST_PORTRAITS, lambda file: file[1])


def draw_people(people: set[str], seed: int, unit: int) -> dict[str, set[str]]:
    """The people of each split."""
    names = np.array(sorted(people))
    names = names[_rng(seed, unit, _PEOPLE).permutation(len(names))]
    ends = np.rint(np.cumsum(list(PEOPLE_SHARES.values())) * len(names)).astype(int)
    parts = np.split(names, ends[:-1])
    for split, part in zip(PEOPLE_SHARES, parts, strict=True):
        if len(part) < FEWEST_PEOPLE:
            raise UserError(
                f"{FRAMES}: {len(part)} of {len(names)} people are for {split}, and a split needs "
                f"{FEWEST_PEOPLE} or more; give frames of more people"
            )
    return {split: set(part) for split, part in zip(PEOPLE_SHARES, parts, strict=True)}


def refuse_common_people(mae: set[str], detectors: set[str]) -> None:
    """Raises: UserError if a person of the frames is among the portraits, by name."""
    known = {_plain(name): name for name in mae}
    common = sorted(known[_plain(name)] for name in detectors if _plain(name) in known)
    if common:
        raise UserError(
            f"{len(common)} people of {FRAMES} are in {PORTRAITS}, too (the first is {common[0]}); "
            "take them out of one of the tables"
        )


def refuse_equal_pictures(hashes: Mapping[str, Mapping[str, int]]) -> None:
    """Raises: UserError if two splits, or one and the MAE, hold nearly equal pictures.

    Args:
      hashes: of each split, the perceptual hash by the picture's name.
    """
    arrays = {split: np.array(list(there.values()), np.uint64) for split, there in hashes.items()}
    for number, split in enumerate(hashes):
        for other in list(hashes)[:number]:
            pairs = near_pairs(arrays[split], arrays[other])
            if pairs:
                first, second = list(hashes[split])[pairs[0][0]], list(hashes[other])[pairs[0][1]]
                raise UserError(
                    f"{len(pairs)} pictures of {split} are nearly equal to pictures of {other} "
                    f"(the first are {first} and {second}); take them out of one folder"
                )
    print(f"no two of {', '.join(hashes)} share a person, nor a picture")


# ---- files


class Part:
    """Files and lists of some splits in one folder.

    Attributes:
      hashes: of each split, the perceptual hash of each photograph by its name.
    """

    def __init__(self, folder: pathlib.Path, args: argparse.Namespace):
        self.folder, self._args = folder, args
        self.hashes: dict[str, dict[str, int]] = {}
        self._named: dict[tuple[str, str], pathlib.Path] = {}
        self._rows: list[tuple] = []
        self._skipped = 0

    def read_frames(self, files: list[FrameFile]) -> Iterator[Photograph]:
        """Frames that can be used; the others are named."""
        for file in files:
            try:
                frame = file.load()
            except BadImageError as error:
                self._skip(error)
                continue
            name = self._own_name(FRAMES, file.path)
            yield Photograph(FRAMES, name, file.person, frame.image, file.landmarks)

    def read_files(
        self, folder: str, files: list[tuple[pathlib.Path, str]]
    ) -> Iterator[Photograph]:
        """Photographs with the five points of their best face; those without one are named."""
        detector = load_detector("retinaface", None)
        for path, person in files:
            try:
                image = read_full_image(path)
                faces = detector.detect(image)
                if not faces:
                    raise BadImageError(str(path), "no face is found in it")
            except BadImageError as error:
                self._skip(error)
                continue
            points = faces[0].landmarks.round(1)  # the last bits differ between machines
            yield Photograph(folder, self._own_name(folder, path), person, image, points)

    def _own_name(self, folder: str, path: pathlib.Path) -> str:
        name = _name(pathlib.Path(self._args.input, folder), path)
        other = self._named.setdefault((folder, name), path)
        if other != path:
            raise UserError(f"{other} and {path} would both be called {name}; rename one of them")
        return name

    def frame_fakes(
        self, split: str, photographs: list[Photograph]
    ) -> Callable[[Photograph, int], Fakes]:
        """What gives the fakes of a frame of the split."""
        places = {photograph.name: index for index, photograph in enumerate(photographs)}
        frames = [LandmarkedFrame(p.image, p.landmarks, p.person) for p in photographs]
        seed, unit = self._args.seed, self._args.unit
        try:
            fakes = FrameFakes(frames)
        except UserError as error:
            raise UserError(f"{split}: {error}") from None
        return lambda one, _: fakes.make(places[one.name], (seed, unit, _crc(one.name)))

    def self_blend(self, photograph: Photograph, copy: int) -> Fakes:
        """The self-blended fake; its real is the photograph as it is."""
        rng = _rng(self._args.seed, _crc(photograph.name), _FAKE, copy)
        recipe = dataclasses.replace(sample_parameters(rng), changes_source=True)
        made = self_blend(LandmarkedFace(photograph.image, photograph.landmarks), recipe)
        yield SELF_BLENDED, made

    def write(self, split, photographs, count, fakes=None, copies: int = 1) -> None:
        """Writes the captures of photographs and their fakes.

        Args:
          photographs: an iterable of `Photograph`.
          count: about how many, for the rate that is printed.
          fakes: gives the fakes of a photograph and the number of its copy.
          copies: captures of each photograph.
        """
        began = said = time.monotonic()
        for number, photograph in enumerate(photographs):
            name = f"{photograph.folder}/{photograph.name}"
            self.hashes.setdefault(split, {})[name] = hash_image(photograph.image)[1]
            for copy in range(copies):
                self._write_copy(split, photograph, copy, fakes)
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                rate = (number + 1) / (said - began)
                left = (count - number - 1) / rate / 60
                print(
                    f"{split}: {number + 1} of {count} in {photograph.folder}, {rate:.1f} a "
                    f"second, {left:.0f} minutes left",
                    file=sys.stderr,
                )

    def _write_copy(self, split: str, photograph: Photograph, copy: int, fakes) -> None:
        args, landmarks = self._args, photograph.landmarks
        capture = sample_capture(_rng(args.seed, _crc(photograph.name), _CAPTURE, copy))
        five = to_five_landmarks(landmarks) if len(landmarks) == ALL else landmarks
        matrix = crop_matrix(five.astype(np.float32), capture, args.size, args.magnification)
        name = f"{photograph.name}-{copy}" if copy else photograph.name
        dataset = DATASETS[photograph.folder]
        for method, made in (REAL, photograph), *(fakes(photograph, copy) if fakes else ()):
            path = f"{split}/{dataset}/{method}/{name}.jpg"
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(capture_photograph(made.image, matrix, capture, args.size, name))
            points = mask_path = ""
            if made.mask is None:
                moved = transform_points(landmarks.astype(np.float32), matrix)
                points = " ".join(f"{value:.1f}" for value in moved.ravel())
            else:
                mask = cv2.warpAffine(made.mask, matrix, (args.size, args.size)).clip(0, 1)
                mask_path = f"masks/{path[:-4]}.png"
                (self.folder / mask_path).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(self.folder / mask_path), np.rint(255 * mask).astype(np.uint8))
            video = name if method == REAL else f"{name}-{method}"
            row = (path, int(method != REAL), video, method, dataset, name, photograph.person)
            self._rows.append((*row, points, mask_path))

    def finish(self, split: str) -> None:
        """Writes the list of a split and prints its counts."""
        with (self.folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *self._rows])
        people = collections.defaultdict(set)
        counts = collections.Counter()
        for _, _, _, method, dataset, _, person, *_ in self._rows:
            people[dataset].add(person)
            counts[dataset, method] += 1
        print(f"{split}.csv: {len(self._rows)} images, {self._skipped} photographs skipped")
        for dataset, there in people.items():
            methods = ", ".join(f"{n} {m}" for (d, m), n in counts.items() if d == dataset)
            print(f"  {dataset}, {len(there)} people: {methods}")
        self._rows, self._skipped = [], 0

    def _skip(self, error: BadImageError) -> None:
        self._skipped += 1
        print(f"skipped {error.name}: {error.reason}", file=sys.stderr)


def _at_most(files, most, person_of):
    people = collections.defaultdict(list)
    for file in files:
        people[person_of(file)].append(file)
    return [file for there in people.values() for file in evenly_spaced(there, most)]


def _name(folder: pathlib.Path, path: pathlib.Path) -> str:
    """A file's path below its folder, as one name without an ending."""
    return os.path.relpath(path.with_suffix(""), folder).replace(os.sep, "_")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _crc(name: str) -> int:
    return zlib.crc32(name.encode())


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Builds a benchmark of real photographs with fakes made here.",
        allow_abbrev=False,
    )
    parser.add_argument("--input", required=True, help="folder of the three sources")
    parser.add_argument("--output", required=True, help="folder that gets mae.csv and unit folders")
    parser.add_argument("--unit", type=int, default=0, help="draws the people of the frames")
    parser.add_argument("--size", type=int, default=112, help="side of the crops in pixels")
    parser.add_argument(
        "--magnification", type=float, default=1.4, help="of faces; 1 is FFHQ's alignment"
    )
    parser.add_argument("--frames", type=int, default=15, help="most frames of a person")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main))
