"""Weights of other projects in, ours out.

    python scripts/convert_weights.py --input FILE|DIR --output DIR [--overwrite]
        [--kind auto|timm|hf|google|mae|rffr|xception|efficientnet|dinov2|clip]
        [--normalisation auto|none|half|imagenet|clip]
        [--heads N] [--decoder-heads N] [--targets auto|pixels|normalised] [--prefix NAME]
    python scripts/convert_weights.py --input DIR --export FILE.safetensors --kind timm|hf|hf4|mae

The first writes a checkpoint that --config.detector.init=DIR (a ViT, a MAE or, of a rival, a
classifier of ImageNet), --config.backbone.weights=DIR (DINOv2, CLIP, a ViT or a MAE),
--config.mae=DIR and --config.init_from=DIR (a MAE) take. The second writes a MAE, a ViT, or the
branches of a detector under the names that PyTorch loads with strict=True. Nothing in a file is
ever run.
"""

import argparse
import dataclasses
import pathlib
import sys

from rffr_jax.cluster.command_line import run_program
from rffr_jax.convert.exporting import export_weights
from rffr_jax.convert.importing import ImportOptions, import_weights, refuse_output, write_converted
from rffr_jax.errors import UserError
from rffr_jax.method.pretrained_backbone import FAMILIES


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    args = _parser().parse_args(argv)
    try:
        if args.export is not None:
            _refuse_flags_of_import(args)
            for file, reads in export_weights(args.input, args.kind, args.export).items():
                print(f"wrote {file}")
                print(f"it reads {reads}")
            return 0
        refuse_output(args.output, args.overwrite)
        imported = import_weights(args.input, _asked(args))
        write_converted(args.output, imported, args.overwrite)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    about = imported.about
    model, provenance = about["model"], about["provenance"]
    for source, facts in provenance["told"].items():
        print(f"told by {source}:", *facts, sep="\n  ")
    if provenance["assumed"]:
        print("assumed:", *provenance["assumed"], sep="\n  ")
    for note in imported.notes:
        print(f"note: {note}")
    if about["kind"] == "backbone":
        shape = ", ".join(f"{name} {value}" for name, value in model.items())
    else:
        shape = f"{model['size']}, {model['image_size']} px, patches of {model['patch_size']} px"
    uses = {
        "mae": "mae, --config.init_from, --config.detector.init or --config.backbone.weights",
        "vit": "detector.init or --config.backbone.weights",
        "backbone": "backbone.weights" if about.get("network") in FAMILIES else "detector.init",
    }
    print(f"wrote {args.output}: a {provenance['kind']} {about['kind']} ({shape})")
    print(f"use it with --config.{uses[about['kind']]}={args.output}")
    return 0


def _asked(args: argparse.Namespace) -> ImportOptions:
    return ImportOptions(
        **{field.name: getattr(args, field.name) for field in dataclasses.fields(ImportOptions)}
    )


def _refuse_flags_of_import(args: argparse.Namespace):
    """Raises: UserError if a flag was given that --export would ignore."""
    if args.overwrite:
        raise UserError("--export replaces no file, so leave out --overwrite; name another file")
    for field in dataclasses.fields(ImportOptions):
        if field.name != "kind" and getattr(args, field.name) != field.default:
            flag = field.name.replace("_", "-")
            raise UserError(
                f"--export leaves weights as they are, so leave out --{flag}; it is for --output"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", required=True, type=pathlib.Path, metavar="FILE|DIR")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--output", type=pathlib.Path, metavar="DIR", help="folder to write to")
    way.add_argument("--export", type=pathlib.Path, metavar="FILE.safetensors")
    parser.add_argument("--kind", default="auto", help="by default told by the names in the file")
    parser.add_argument(
        "--normalisation",
        default="auto",
        help="what the weights were trained on; by default as far as the file tells",
    )
    parser.add_argument("--heads", type=int, help="of the attention; for files that do not tell")
    parser.add_argument("--decoder-heads", type=int, help="the same of a MAE's decoder")
    parser.add_argument(
        "--targets",
        default="auto",
        help="what a MAE's decoder predicts: pixels, or patches normalised by themselves",
    )
    parser.add_argument("--prefix", help="of the network to take, where a file holds several")
    parser.add_argument("--overwrite", action="store_true", help="replace a checkpoint in --output")
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main))
