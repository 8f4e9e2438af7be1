"""What a detector sees with `data.fakes=self_blended`: a sheet of pairs, and how landmarks fit.

    python scripts/self_blending_report.py [--input SPEC] [--count 8] [--size 224] [--seed 0]
        [--no-post-augmentation] [--sheet self_blended.png]

A row a pair, evenly spaced over the data: the real, the fake, the mask of the blend (before flip
and cut), and four times the difference. For data with 68 landmarks it prints how well the template
that stands in for them elsewhere fits: intersection over union of the hulls, the template's fitted
to five points.
"""

import argparse
import sys
import time

import numpy as np

from rffr_jax.cluster.command_line import run_program
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.data.selection import evenly_spaced, keep_reals
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.decode import resize_to_square
from rffr_jax.images.landmarks import (
    ALL,
    landmark_count,
    load_face,
    to_68_landmarks,
    to_five_landmarks,
)
from rffr_jax.images.polygons import hull_overlap
from rffr_jax.reports.contact_sheet import contact_sheet

TITLES = ("real", "self-blended", "mask", "difference x 4")
MOST_HULLS = 1000  # compared, evenly spaced


def main(argv: list[str] | None = None) -> int:
    """Runs the report; returns its exit code."""
    parser = argparse.ArgumentParser(
        description="Self-blended pairs as a detector sees them.", allow_abbrev=False
    )
    parser.add_argument("--input", default="synthetic:0#train", help="dataset spec; its reals")
    parser.add_argument("--count", type=int, default=8, help="rows of the sheet")
    parser.add_argument("--size", type=int, default=224, help="of the images, in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-post-augmentation", action="store_true")
    parser.add_argument("--sheet", default="self_blended.png", help="PNG to write")
    args = parser.parse_args(argv)
    try:
        if args.count < 1 or args.size < 16 or args.seed < 0:
            raise UserError("--count must be 1 or more, --size 16 or more, --seed 0 or more")
        dataset = load_dataset(args.input)
        pairs = SelfBlendedPairs(
            dataset, args.seed, post_augmentation=not args.no_post_augmentation
        )
        shapes = ", ".join(f"{count} {kind}" for kind, count in pairs.landmark_counts.items())
        print(f"{pairs.pair_count} reals of {args.input}; 68 landmarks: {shapes}")
        rows = [
            _pair(pairs, index, args.size, row)
            for row, index in enumerate(evenly_spaced(range(pairs.pair_count), args.count))
        ]
        _print_speed(pairs, args.size)
        _print_fit(keep_reals(dataset), args.size)
    except (UserError, BadImageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    contact_sheet(args.sheet, rows, TITLES, note=synthetic_data_note(dataset.examples))
    print(f"contact sheet: {args.sheet}")
    return 0


def _pair(pairs: SelfBlendedPairs, index: int, size: int, row: int) -> list[np.ndarray]:
    """The images of one row; drawn as for rows 2 x `row` and the next of step 0."""
    real = pairs.load_for_row(index, size, step=0, row=2 * row)
    fake = pairs.load_for_row(pairs.pair_count + index, size, step=0, row=2 * row + 1)
    mask = pairs.blend(pairs.pair_count + index, size, step=0, row=2 * row + 1).mask
    grey = np.rint(mask * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    difference = 128 + 4 * (fake.astype(int) - real)
    return [real, fake, resize_to_square(grey, size), difference.clip(0, 255).astype(np.uint8)]


def _print_speed(pairs: SelfBlendedPairs, size: int):
    number = min(50, pairs.pair_count)
    seconds = []
    for offset in (0, pairs.pair_count):  # reals, then their fakes
        start = time.perf_counter()
        for index in range(number):
            pairs.load_for_row(offset + index, size, step=1, row=index)
        seconds.append(time.perf_counter() - start)
    real, fake = (1000 * passed / number for passed in seconds)
    print(f"one thread: a real {real:.1f} ms, a self-blended fake {fake:.1f} ms")


def _print_fit(reals, size: int):
    overlaps = []
    for index in evenly_spaced(range(len(reals.examples)), MOST_HULLS):
        if landmark_count(reals, index) == ALL:
            face = load_face(reals, index, size)
            fitted = to_68_landmarks(to_five_landmarks(face.landmarks))
            overlaps.append(hull_overlap(face.landmarks, fitted, len(face.image)))
    if overlaps:
        low, middle = np.quantile(overlaps, (0.05, 0.5))
        print(
            f"template's hull against the own one of {len(overlaps)} faces: intersection over "
            f"union {np.mean(overlaps):.3f} on average, median {middle:.3f}, 5 % below {low:.3f}"
        )


if __name__ == "__main__":
    sys.exit(run_program(main))
