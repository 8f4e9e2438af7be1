"""Face images as JPEG files and tables in one small folder, to carry to a machine with a GPU.

    python scripts/pack_images.py --output gpu_images                            # drawn faces
    python scripts/pack_images.py --output gpu_images --train folder:FACES/train \
        --validation folder:FACES/validation

Images are drawn at random from the two data sets until the megabytes are used, an eighth of them by
the validation: train.csv and validation.csv name the files with their labels and origins, and
`csv:DIR/train.csv` reads them. JPEG of quality 95 with full colour. Bad files are left out. Exit
codes: 0 done; 2 a mistake. Nothing is there before all of it is.
"""

import argparse
import csv
import pathlib
import sys

import numpy as np

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.data.export import COLUMNS
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Dataset
from rffr_jax.images.image_formats import encode_crop
from rffr_jax.runs.atomic_files import new_folder

VALIDATION_SHARE = 1 / 8


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--train", default="synthetic:0#train", help="a dataset spec")
    parser.add_argument("--validation", default="synthetic:0#validation", help="a dataset spec")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--megabytes", type=float, default=40.0, help="of all files together")
    args = parser.parse_args(argv)
    if args.size < 1 or args.megabytes <= 0:
        raise UserError("--size and --megabytes must be above 0")
    shares = {"train": 1 - VALIDATION_SHARE, "validation": VALIDATION_SHARE}
    datasets = {split: load_dataset(getattr(args, split)) for split in shares}
    with new_folder(args.output) as folder:
        for split, share in shares.items():
            size = int(share * args.megabytes * 10**6)
            print(pack(datasets[split], folder / f"{split}.csv", args.size, size))
    return 0


def pack(dataset: Dataset, table: pathlib.Path, size: int, most_bytes: int) -> str:
    """Writes images of a dataset below a folder named as the table, then the table.

    Args:
      size: side of the images in pixels.
      most_bytes: of the images and of the table, which comes last.

    Returns:
      A line that says what is there.

    Raises:
      UserError: not a single image fits.
    """
    folder = table.with_suffix("")
    folder.mkdir()
    rows, used, bad = [], 0, 0
    for index in np.random.default_rng(0).permutation(len(dataset.examples)):
        example = dataset.examples[index]
        try:
            data = encode_crop(dataset.load(int(index), size), "jpeg")
        except BadImageError:
            bad += 1
            continue
        name = f"{folder.name}/{len(rows):06d}.jpg"
        row = [name, *(str(getattr(example, column)) for column in COLUMNS[1:])]
        used += len(data) + len(",".join(row).encode()) + 16  # and quotes
        if used > most_bytes:
            break
        (table.parent / name).write_bytes(data)
        rows.append(row)
    if not rows:
        raise UserError(f"{table.stem}: no image fits; give more --megabytes or a smaller --size")
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    fakes = sum(row[1] == "1" for row in rows)
    left_out = f", {bad} bad files left out" if bad else ""
    return f"{table.stem}: {len(rows) - fakes} reals, {fakes} fakes{left_out}"


if __name__ == "__main__":
    sys.exit(run_program(main))
