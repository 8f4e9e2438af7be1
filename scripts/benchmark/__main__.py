"""How fast the method runs on this machine, beside the same work in PyTorch, in one run.

    python -m scripts.benchmark --output DIR [--size vit_b16] [--batch residual=1,pretrain=4] ...

Rows: `residual` (whole residual images, every block of them), `pretrain` and `detect` (a training
step), `evaluate` (a set scored, its residuals recomputed or kept), `input` (prepared records).
Where --rows names them: `xception`, `sbi`, `recce`, `uia_vit` (a training step of that rival, whose
size is the published one, small with --quick).
Each side has a process of its own; their repeats take turns, and medians are reported. PyTorch
with transformers is optional. DIR gets benchmark.json and benchmark.md, rewritten after every row,
so that an interrupted run keeps what it measured. docs/benchmarks.md explains the numbers.
"""

import argparse
import contextlib
import dataclasses
import datetime
import pathlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.errors import UserError

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
WORKS = ("residual", "pretrain", "detect", "evaluate", "input")
RIVALS = ("xception", "sbi", "recce", "uia_vit")
ROWS = (*WORKS, *RIVALS)
DTYPES = ("float32", "tf32", "bfloat16")
K = 4
INTERRUPTED = 130


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What a machine of a kind is measured with, where the flags do not say otherwise."""

    dtypes: tuple[str, ...]
    batches: dict[str, int]
    matrix: int
    repeats: int
    size: str = "vit_b16"
    image_size: int = 224
    patch_size: int = 16


CPU = Defaults(
    dtypes=("float32",),
    batches={"residual": 1, "pretrain": 4, "detect": 4, "evaluate": 2, "input": 64},
    matrix=4096,
    repeats=3,
)
GPU = Defaults(
    dtypes=("bfloat16", "tf32", "float32"),
    batches={"residual": 32, "pretrain": 128, "detect": 32, "evaluate": 64, "input": 64},
    matrix=8192,
    repeats=10,
)
QUICK = Defaults(
    dtypes=("float32",),
    batches={"residual": 2, "pretrain": 4, "detect": 4, "evaluate": 4, "input": 64},
    matrix=256,
    repeats=2,
    size="tiny",
    image_size=56,
    patch_size=4,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(_parse(arguments), arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    from rffr_jax.method.blocks import BlockGrid
    from rffr_jax.models.sizes import ModelSettings
    from scripts.benchmark import machine, report
    from scripts.benchmark.contestant import UnavailableError
    from scripts.benchmark.rows import Rounds, write_shared_files
    from scripts.benchmark.setup import Setup

    shapes = QUICK if args.quick else CPU  # those of a GPU are the same
    model = ModelSettings(
        args.size or shapes.size,
        args.image_size or shapes.image_size,
        args.patch_size or shapes.patch_size,
    )
    BlockGrid(model.grid, K)
    _make_folder(args.output)
    accelerator = machine.accelerator()
    defaults = QUICK if args.quick else CPU if accelerator is None else GPU
    dtypes = args.dtype or defaults.dtypes
    if "tf32" in dtypes and accelerator is None:
        raise UserError("--dtype tf32 is for a GPU; JAX sees none here")
    of_rivals = dict.fromkeys(RIVALS, defaults.batches["detect"])
    batches = {**of_rivals, **defaults.batches, **args.batch}
    about = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "command": shlex.join(["python", "-m", "scripts.benchmark", *arguments]),
        **machine.description(accelerator),
        "model": {**dataclasses.asdict(model), "k": K},
    }
    missing = machine.missing_peers() if args.torch else []
    about["notes"] = _notes(about, dtypes, args.torch, missing)
    results: list[report.Result] = []
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rounds = Rounds(
            repeats=args.repeats or defaults.repeats,
            device=about["device"],
            accelerator=accelerator is not None,
            torch=args.torch and not missing,
            compiled=not args.quick,
            finished=lambda result: print(report.one_line(result), flush=True),
        )
        stack.enter_context(contextlib.closing(rounds))
        setup = Setup(
            **dataclasses.asdict(model),
            k=K,
            dtype=dtypes[0],
            batch=1,
            matrix=defaults.matrix,
            huggingface=machine.huggingface_names(),
            configs=CONFIGS,
            folder=folder,
        )
        try:
            write_shared_files(setup)
            for dtype in dtypes:
                for work in args.rows:
                    if work == "input" and dtype != dtypes[0]:
                        continue  # it has no matrices
                    row = dataclasses.replace(setup, dtype=dtype, batch=batches[work])
                    results += rounds.measure(work, row)
                    report.write(args.output, about, results)
        except UnavailableError as error:
            raise UserError(f"nothing can be measured here: {error}") from error
        except KeyboardInterrupt:
            print(f"interrupted; finished rows are in {args.output}", file=sys.stderr)
            return INTERRUPTED
    print(f"wrote {args.output / 'benchmark.json'} and {args.output / 'benchmark.md'}")
    return 0


def _notes(
    about: dict[str, Any], dtypes: Sequence[str], torch: bool, missing: Sequence[str]
) -> list[str]:
    """What a reader of the tables must know."""
    model = about["model"]
    notes = [
        f"{model['size']}, {model['image_size']} px, patches of {model['patch_size']} px, "
        f"k = {model['k']}; load of the machine at the start: {about['load_at_start']:.1f}"
    ]
    if not torch:
        notes.append("PyTorch was left out (`--no-torch`)")
    elif missing:
        notes.append(f"PyTorch's side is missing: {' and '.join(missing)} not installed")
    if "tf32" in dtypes:
        notes.append(
            "on both sides `float32` is full precision (JAX: matmul precision `highest`; PyTorch: "
            "allow_tf32 off) and `tf32` the same numbers multiplied in TensorFloat-32"
        )
    if "bfloat16" in dtypes:
        notes.append("`bfloat16` computes in it; weights that are trained stay float32")
    if about["environment"]:
        notes.append(", ".join(f"{name}={value}" for name, value in about["environment"].items()))
    return notes


def _make_folder(folder: pathlib.Path):
    """Raises: UserError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--output {folder} cannot be written to: {error.strerror}") from error


# ---- flags


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--rows", type=_rows, default=WORKS, metavar=",".join(ROWS))
    parser.add_argument(
        "--dtype", type=_dtypes, metavar=",".join(DTYPES), help="float32 on a CPU; all on a GPU"
    )
    parser.add_argument("--size", help="of the models: vit_b16, vit_s16, vit_ti16, mini, tiny")
    parser.add_argument("--image-size", type=_count, metavar="PIXELS", help="224")
    parser.add_argument("--patch-size", type=_count, metavar="PIXELS", help="16")
    parser.add_argument(
        "--batch", type=_batches, default={}, metavar="N|ROW=N,...", help="images a call"
    )
    parser.add_argument("--repeats", type=_count, metavar="N", help="3 on a CPU, 10 on a GPU")
    parser.add_argument("--no-torch", dest="torch", action="store_false", help="only this side")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny model, two repeats, no torch.compile"
    )
    return parser.parse_args(arguments)


def _rows(text: str) -> tuple[str, ...]:
    return _names(text, ROWS)


def _dtypes(text: str) -> tuple[str, ...]:
    return _names(text, DTYPES)


def _names(text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is not known; choose {', '.join(known)}")
    return names


def _batches(text: str) -> dict[str, int]:
    if "=" not in text:
        return dict.fromkeys(ROWS, _count(text))
    batches = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        (name,) = _names(name, ROWS)
        batches[name] = _count(number)
    return batches


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    sys.exit(run_program(main))
