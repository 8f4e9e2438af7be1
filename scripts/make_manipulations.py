"""Makes a labelled data set out of photographs of real faces: the reals, and fakes of each.

    python scripts/make_manipulations.py --input DIR --output DIR [--landmarks CSV] [--size 128]
        [--seed 0] [--split train=.7,validation=.1,test=.2] [--group-by file|person]

Input: aligned face crops (square; the face where FFHQ's alignment puts it), or any photographs
with --landmarks, a CSV with the header image,person,x0,y0,...,x67,y67 (68 points, in pixels).
Four fakes are made of a crop; with landmarks four more, in the pixels of the photograph and with
donors and a texture model of its split, which needs 8 people (docs/manipulations.md).
Files that cannot be used are named with the reason and skipped; so is a photograph with landmarks
that its EXIF orientation turns, because the landmarks may be of either picture: save it upright.
Output: train.csv, validation.csv, test.csv (path,label,video,method,dataset,source,group) beside
train/real/, train/fake/METHOD/ and so on, JPEG quality 95, 4:4:4. Photographs are split by file
or by person; a donor is another file or person of the same split.
"""

import argparse
import csv
import dataclasses
import math
import pathlib
import shutil
import sys
import tempfile
import zlib

import numpy as np

from rffr_jax.cluster.command_line import run_program
from rffr_jax.data.readers.folder import list_images
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.alignment import AlignedFace
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS
from rffr_jax.images.landmarks import to_five_landmarks
from rffr_jax.images.photographs import SMALLEST_SIDE, read_aligned_face
from rffr_jax.synthetic.capture import ALIGNED_OVER_OUTPUT, capture, capture_frame
from rffr_jax.synthetic.landmark_manipulations import (
    CANDIDATES,
    LANDMARK_METHODS,
    manipulate_frame,
    pick_donor,
)
from rffr_jax.synthetic.landmark_table import FrameFile, read_landmark_table
from rffr_jax.synthetic.manipulations import IDENTITY, METHODS
from rffr_jax.synthetic.texture_model import MOST_FACES, TextureModel, fit_texture_model

COLUMNS = ("path", "label", "video", "method", "dataset", "source", "group")
_DONOR, _FRAME_DONOR, _FRAME = 0xD0, 0xD1, 0xF0  # what a stream of random numbers is for


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A file, its name in the outputs, the group it is split by; with landmarks its frame."""

    path: pathlib.Path
    name: str
    group: str
    frame: FrameFile | None = None


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
    """Reads the photographs, writes the data set into a temporary folder, renames it."""
    output = pathlib.Path(args.output)
    if output.exists():
        raise UserError(f"--output {output}: exists already; name a folder that does not")
    if not SMALLEST_SIDE <= args.size <= 512:
        raise UserError(f"--size {args.size}: must lie between {SMALLEST_SIDE} and 512")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: must not be negative")
    shares = parse_split(args.split)
    photographs = find_photographs(pathlib.Path(args.input), args.landmarks, args.group_by)
    splits = split_groups(photographs, shares, args.seed)

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as folder:
        whole = pathlib.Path(folder) / "whole"
        for split, members in splits.items():
            rows, skipped = write_split(whole, split, members, args.size, args.seed)
            fakes = sum(row[1] for row in rows)
            print(f"{split}: {len(rows) - fakes} real, {fakes} fake, {skipped} files skipped")
        whole.chmod(0o755)
        shutil.move(whole, output)


def parse_split(text: str) -> dict[str, float]:
    """ "train=.7,test=.3" as a dictionary, its shares checked."""
    shares = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise UserError(f"--split {text!r}: {part!r} is not NAME=SHARE") from None
        if not name.isidentifier() or not 0 < shares[name] <= 1:
            raise UserError(f"--split {text!r}: {part!r} needs a plain name and a share in (0, 1]")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise UserError(f"--split {text!r}: the shares must add up to 1")
    return shares


def find_photographs(
    folder: pathlib.Path, landmarks: str | None, group_by: str
) -> list[Photograph]:
    """The images below `folder`, in order; with a landmarks file those that it lists."""
    if not folder.is_dir():
        raise UserError(f"--input {folder}: no such folder")
    if landmarks is None:
        if group_by == "person":
            raise UserError("--group-by person: needs --landmarks, whose CSV names the persons")
        files = [folder / path for path in list_images(folder)]
        found = [Photograph(path, _name(path, folder), _name(path, folder)) for path in files]
    else:
        found = [
            Photograph(file.path, name, file.person if group_by == "person" else name, file)
            for file in read_landmark_table(pathlib.Path(landmarks), folder)
            for name in [_name(file.path, folder)]
        ]
        found.sort(key=lambda photograph: photograph.name)
    if not found:
        raise UserError(f"--input {folder}: no images there ({' '.join(IMAGE_EXTENSIONS)})")
    if len({photograph.name for photograph in found}) < len(found):
        raise UserError(f"--input {folder}: two images have the same name but for the ending")
    return found


def _name(path: pathlib.Path, folder: pathlib.Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix().replace("/", "_")


def split_groups(
    photographs: list[Photograph], shares: dict[str, float], seed: int
) -> dict[str, list[Photograph]]:
    """Whole groups dealt to the splits by a shuffle keyed by the seed."""
    groups = sorted({photograph.group for photograph in photographs})
    order = np.random.default_rng(np.random.SeedSequence([seed])).permutation(len(groups))
    ends = np.rint(np.cumsum(list(shares.values())) * len(groups)).astype(int)
    splits = {}
    start = 0
    for name, end in zip(shares, ends, strict=True):
        chosen = {groups[i] for i in order[start:end]}
        if len(chosen) < 2:
            raise UserError(
                f"--split: {name!r} gets {len(chosen)} of {len(groups)} groups; a donor of another"
                " group needs at least 2: give more images or larger shares"
            )
        splits[name] = [photograph for photograph in photographs if photograph.group in chosen]
        start = end
    return splits


def write_split(
    whole: pathlib.Path, split: str, photographs: list[Photograph], size: int, seed: int
) -> tuple[list[tuple], int]:
    """Writes one split's images and its CSV; returns the rows and how many files were skipped."""
    usable = []
    for photograph in photographs:
        try:
            load(photograph, size)
            if photograph.frame is not None:
                photograph.frame.load()
            usable.append(photograph)
        except BadImageError as error:
            print(f"skipped {photograph.path}: {error.reason}", file=sys.stderr)
    if len({photograph.group for photograph in usable}) < 2:
        raise UserError(f"split {split!r}: fewer than 2 groups have an image that can be read")
    frames = [photograph.frame for photograph in usable if photograph.frame is not None]
    textures = fit_textures(split, frames) if frames else None
    rows = []
    for photograph in usable:
        key = (seed, zlib.crc32(photograph.name.encode()))
        encoded = make_images(photograph, usable, key, size)
        if photograph.frame is not None and textures is not None:
            encoded |= make_frame_fakes(photograph.frame, frames, textures, key, size)
        for method, file in encoded.items():
            real = method == IDENTITY
            folder = f"{split}/real" if real else f"{split}/fake/{method}"
            path = f"{folder}/{photograph.name}.jpg"
            (whole / folder).mkdir(parents=True, exist_ok=True)
            (whole / path).write_bytes(file)
            video = photograph.name if real else f"{photograph.name}-{method}"
            rows.append(
                (path, 0 if real else 1, video, "real" if real else method, "photographs",
                 photograph.name, photograph.group)
            )  # fmt: skip
    with (whole / f"{split}.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    return rows, len(photographs) - len(usable)


def fit_textures(split: str, frames: list[FrameFile]) -> TextureModel:
    """The texture model of a split's people."""
    count = min(len(frames), MOST_FACES)
    spaced = np.linspace(0, len(frames) - 1, count).round().astype(int)
    try:
        return fit_texture_model([frames[i].load() for i in spaced])
    except UserError as error:
        raise UserError(f"split {split!r}: {error}") from None


def make_images(
    photograph: Photograph, others: list[Photograph], key: tuple[int, ...], size: int
) -> dict[str, bytes]:
    """The real and the fakes that are made of its crop, as files, by method."""
    face = load(photograph, size)
    donor = load(pick_stranger(photograph, others, key), size)
    return {
        method: capture(face, donor, method, key, size).encoded for method in (IDENTITY, *METHODS)
    }


def make_frame_fakes(
    file: FrameFile,
    others: list[FrameFile],
    textures: TextureModel,
    key: tuple[int, ...],
    size: int,
) -> dict[str, bytes]:
    """The fakes that are made in the photograph's pixels, cut out and captured as the real is."""
    frame = file.load()
    rng = np.random.default_rng(np.random.SeedSequence([*key, _FRAME_DONOR]))
    strangers = [other for other in others if other.person != file.person]
    drawn = rng.choice(len(strangers), min(CANDIDATES, len(strangers)), replace=False)
    donor = pick_donor(frame, [strangers[i].load() for i in drawn], rng)
    encoded = {}
    for number, method in enumerate(LANDMARK_METHODS):
        rng = np.random.default_rng(np.random.SeedSequence([*key, _FRAME, number]))
        made = manipulate_frame(method, frame, donor, textures, rng)
        encoded[method] = capture_frame(made.image, frame.landmarks, key, size).encoded
    return encoded


def pick_stranger(
    photograph: Photograph, others: list[Photograph], key: tuple[int, ...]
) -> Photograph:
    """A photograph of another group, drawn by the key of the one that receives it."""
    strangers = [other for other in others if other.group != photograph.group]
    draw = np.random.default_rng(np.random.SeedSequence([*key, _DONOR])).integers(len(strangers))
    return strangers[draw]


def load(photograph: Photograph, size: int) -> AlignedFace:
    """The aligned face of a photograph; `BadImageError` where it cannot be used."""
    five = None if photograph.frame is None else to_five_landmarks(photograph.frame.landmarks)
    return read_aligned_face(photograph.path, five, ALIGNED_OVER_OUTPUT * size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Makes a labelled data set out of photographs of real faces.",
        allow_abbrev=False,
    )
    parser.add_argument("--input", required=True, help="folder of photographs of real faces")
    parser.add_argument("--output", required=True, help="folder to make; must not exist")
    parser.add_argument("--landmarks", help="CSV of 68 landmarks an image")
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="train=.7,validation=.1,test=.2")
    parser.add_argument("--group-by", choices=("file", "person"), default="file")
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main))
