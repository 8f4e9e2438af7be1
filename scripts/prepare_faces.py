"""Videos and photographs of a benchmark, or of your own, into records of aligned faces.

    python scripts/prepare_faces.py --benchmark faceforensics --input DIR --output DIR
        [--compression c23] [--splits DIR] [--frames 16 | train=32,test=all] [--workers N]
        [--dry-run] ...
    python scripts/prepare_faces.py --benchmark table --input media.csv --output DIR

It writes OUTPUT/NAME/VERSION: shards that `tfds:OUTPUT/NAME#train` reads, `preparation.json` (how
it was done), `report.json` (what was found and what was dropped, with reasons) and a sheet of faces
for each split; with --format parquet also OUTPUT/NAME/parquet. On the way it needs room for the
records twice. A run that was killed resumes when it is started again; records that are finished are
never replaced. Exit codes: 0 done; 2 a mistake, more media without a face than --max-bad-fraction
allows, or fewer media that are there and readable than --min-coverage asks for; 75 stopped by
Ctrl-C or SIGTERM, start again.
"""

import argparse
import collections
import logging
import pathlib
import signal
import sys

from rffr_jax.cluster.command_line import run_program
from rffr_jax.errors import UserError
from rffr_jax.faces.benchmarks import BENCHMARKS, OWN, find_media

INTERRUPTED = 75
NOTES_SHOWN = 10
SHARES = "0.8,0.1,0.1"
PARQUET = "parquet"


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("rffr_jax").setLevel(logging.INFO)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _prepare(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; start the same command again to resume", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _prepare(args: argparse.Namespace) -> int:
    from rffr_jax.faces.benchmarks.video_list import keep_listed_videos

    if args.output is None and not args.dry_run:
        raise UserError("--output DIR is missing; name the folder for the records, or --dry-run")
    if args.workers < 0:
        raise UserError(f"--workers {args.workers}: must be 0 or more")
    if not 0 <= args.max_bad_fraction <= 1:
        raise UserError(f"--max-bad-fraction {args.max_bad_fraction:g}: must lie in [0, 1]")
    if not 0 <= args.min_coverage <= 1:
        raise UserError(f"--min-coverage {args.min_coverage:g}: must lie in [0, 1]")
    benchmark = find_media(
        args.benchmark,
        args.input,
        compression=args.compression,
        splits=args.splits,
        all_real=args.all_real,
        frame_folders=args.frame_folders,
    )
    if args.split_by:
        benchmark = _split(args, benchmark)
    elif args.split or args.person_pattern:
        option = f"--split {args.split}" if args.split else "--person-pattern"
        raise UserError(f"{option} says nothing without --split-by person; add it")
    if args.video_list:
        benchmark = keep_listed_videos(benchmark, args.video_list)
    _print_found(benchmark)
    if not args.dry_run:
        _build(args, benchmark)
    return 0


def _split(args: argparse.Namespace, benchmark):
    from rffr_jax.faces.benchmarks.person_split import parse_fractions, split_by_person

    if args.benchmark not in OWN:
        raise UserError(
            f"--split-by person does not go with --benchmark {args.benchmark}, which has splits; "
            "it is for folder and table, leave it out"
        )
    fractions = parse_fractions(args.split or SHARES)
    return split_by_person(benchmark, args.benchmark, fractions, args.person_pattern)


def _build(args: argparse.Namespace, benchmark):
    from rffr_jax.data.readers.deepfakebench import check_export
    from rffr_jax.faces.beam import beam_runner
    from rffr_jax.faces.build import build_dataset
    from rffr_jax.faces.crop import CropSettings
    from rffr_jax.faces.frame_counts import parse_frames
    from rffr_jax.faces.parquet import check_pyarrow, write_parquet
    from rffr_jax.faces.prepare import PreparationSettings
    from rffr_jax.faces.runners import process_runner, run_sequentially
    from rffr_jax.images.landmarks import ALL

    settings = PreparationSettings(
        detector=args.detector,
        weights=args.detector_weights and args.detector_weights.absolute(),
        crop=CropSettings(args.size, args.scale, args.alignment, args.interpolation),
        smallest_face=args.smallest_face,
        image_format=args.image_format,
        frames=parse_frames(args.frames),
        faces=args.faces,
        landmarks=ALL if args.landmarks_weights else args.landmarks,
        landmarks_weights=args.landmarks_weights and args.landmarks_weights.absolute(),
    )
    if args.format == PARQUET:
        check_pyarrow()
    if args.export_deepfakebench:
        if args.faces == "all":
            raise UserError(
                "--export-deepfakebench has one face a frame; leave it out, or --faces all"
            )
        kinds = {(medium.label, medium.dataset, medium.method) for medium in benchmark.media}
        check_export(args.export_deepfakebench, kinds, _compression(benchmark))
    if args.runner:
        run = beam_runner(args.runner, args.beam_options)
    else:
        run = process_runner(args.workers) if args.workers else run_sequentially
    dataset = build_dataset(
        benchmark,
        settings,
        args.output,
        args.name or args.benchmark,
        run=run,
        max_bad_fraction=args.max_bad_fraction,
        min_coverage=args.min_coverage,
    )
    print(f"the records are in {dataset}; read them as tfds:{dataset.parent}#SPLIT")
    if args.format == PARQUET:
        folder = write_parquet(dataset)
        print(f"the same in Parquet files is in {folder}; read it as parquet:{folder}#SPLIT")
    if args.export_deepfakebench:
        _export(dataset, args.export_deepfakebench, settings.crop.size, benchmark)


def _export(dataset: pathlib.Path, file: pathlib.Path, size: int, benchmark):
    from rffr_jax.data.readers.deepfakebench import write_deepfakebench
    from rffr_jax.data.readers.prepared import read_prepared
    from rffr_jax.faces.shards import read_counts

    splits = {split: read_prepared(dataset, split) for split in read_counts(dataset)}
    frames = file.parent / "rgb"
    write_deepfakebench(file, splits, frames, size=size, compression=_compression(benchmark))
    print(f"exported as deepfakebench:{file}#SPLIT, its frames in {frames}")


def _compression(benchmark) -> str:
    return max(medium.compression for medium in benchmark.media)


def _print_found(benchmark):
    counts = collections.Counter(
        (medium.split, medium.dataset, medium.label, medium.method) for medium in benchmark.media
    )
    for (split, dataset, label, method), count in sorted(counts.items()):
        kind = "fake" if label else "real"
        print(f"{split:10}  {dataset:20}  {kind}  {method:20} {count:6}")
    for line in benchmark.missing:
        print(f"missing: {line}")
    for line in benchmark.notes[:NOTES_SHOWN]:
        print(f"note: {line}")
    more = len(benchmark.notes) - NOTES_SHOWN
    if more > 0:
        print(f"note: and {more} more, which report.json will have")
    if benchmark.missing:
        print(f"{len(benchmark.missing)} missing in all")
    if benchmark.left_out.counts:
        print(benchmark.left_out)


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The description as it stands, and every option with its default."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    add = parser.add_argument
    path = pathlib.Path
    add("--benchmark", required=True, choices=tuple(BENCHMARKS))
    add("--input", required=True, type=path, metavar="DIR", help="of `table`, the CSV file")
    add("--output", type=path, metavar="DIR", help="needed unless --dry-run")
    add("--name", help="of the data set; by default the benchmark's")
    add("--compression", help="of FaceForensics++ (raw, c23, c40)")
    add("--splits", type=path, metavar="DIR", help="the official lists of FaceForensics++")
    add(
        "--all-real",
        action="store_true",
        help="every file of a folder is real, whatever its folders are called",
    )
    add("--frame-folders", action="store_true", help="a folder of images in a folder is one video")
    add("--split-by", choices=("person",), help="parts of a folder or table that share no person")
    add("--split", help=f"shares of the people, train,validation,test (by default {SHARES})")
    add(
        "--person-pattern",
        metavar="REGEX",
        help="searched for in the files' paths; its groups are people. Without it, the folder "
        "below real/ or fake/METHOD/, or the column `person`, is one",
    )
    add("--video-list", type=path, metavar="FILE", help="the test videos to take, one a line")
    add(
        "--frames",
        default="train=32,validation=1,test=1",
        help="of a video: a number or all for every split (16), or for some of them (train=16), "
        "where the others keep their number",
    )
    add("--workers", type=int, default=1, help="processes; 0 works in this one")
    add("--runner", help="of Apache Beam, instead of --workers: DirectRunner, FlinkRunner, ...")
    add("--beam-options", default="", help="its flags, in one text")
    add("--detector", default="retinaface", help="retinaface or yunet")
    add("--detector-weights", type=path, metavar="FILE", help="an ONNX file of your own")
    add(
        "--landmarks",
        type=int,
        default=5,
        choices=(5, 68),
        help="points of a record: the detector's 5, or 68 by dlib's model (extra `landmarks`)",
    )
    add(
        "--landmarks-weights",
        type=path,
        metavar="FILE",
        help="an ONNX file that finds 68 points, in place of dlib's model",
    )
    add("--size", type=int, default=224, help="of the crops, in pixels")
    add("--scale", type=float, default=1.3, help="side of the crop over that of the face")
    add("--alignment", default="similarity", help="similarity (five points) or box")
    add("--interpolation", default="area", help="area (antialiased) or bilinear")
    add(
        "--faces",
        default="manipulated",
        help="of several: manipulated (under the mask, or that differs from the original, else the "
        "largest; an original shows the same person), largest, or all (with the medium's label)",
    )
    add("--smallest-face", type=int, default=30, help="shorter side in pixels")
    add("--image-format", default="jpeg", help="png, jpeg (quality 95, 4:4:4) or raw")
    add(
        "--format",
        default="array_record",
        choices=("array_record", PARQUET),
        help="parquet: also Parquet files that Hugging Face `datasets` reads",
    )
    add(
        "--max-bad-fraction",
        type=float,
        default=0.05,
        help="of media without a face, of all and of each split's, data set's and method's",
    )
    add(
        "--min-coverage",
        type=float,
        default=0.99,
        help="share of all media that must be there and readable; below it the exit code is 2, and "
        "the records are kept",
    )
    add(
        "--export-deepfakebench",
        type=path,
        metavar="FILE",
        help="also a DeepfakeBench JSON, with PNG frames in the folder rgb beside it",
    )
    add("--dry-run", action="store_true", help="say what there is and stop")
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main))
