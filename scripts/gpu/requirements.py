"""Which parts of `scripts/gpu_parts.sh` can run here.

    python -m scripts.gpu.requirements [--part PART [--quick]]

Without a part all are listed. Exit codes: 0 the part can run; 2 packages or a GPU are missing.
"""

import argparse
import importlib.util
import subprocess
import sys

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.errors import UserError

LIGHT = ("jax", "flax", "jaxtyping", "numpy")
# Import names of requirements.txt.
ALL = (
    *LIGHT, "absl", "cv2", "filelock", "grain", "importlib_resources", "jinja2", "matplotlib",
    "ml_collections", "optax", "orbax.checkpoint", "PIL", "safetensors", "scipy", "sklearn",
    "tensorboardX", "tensorflow_datasets", "tqdm",
)  # fmt: skip
PARTS = {
    "doctor": LIGHT,
    "attention": LIGHT,
    "benchmark": ALL,
    "batches": ALL,
    "profile": ALL,
    "pretrain": ALL,
    "detect": ALL,
}
PEERS = ("torch", "transformers")


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="a CPU is enough")
    args = parser.parse_args(argv)
    if args.part is None:
        print("\n".join(overview()))
        return 0
    if lacking := missing(PARTS[args.part]):
        raise UserError(
            f"part {args.part} needs {', '.join(lacking)}: pip install -r requirements.txt; "
            "`scripts/gpu_parts.sh parts` lists what can run"
        )
    if not args.quick and not sees_gpu():
        raise UserError("JAX sees no GPU here (pip install 'jax[cuda12]'); --quick needs none")
    return 0


def overview() -> list[str]:
    """A line for each part: whether it can run here, and what it lacks."""
    lines = []
    for part, modules in PARTS.items():
        lacking = missing(modules)
        lines.append(f"{part:10} {'needs ' + ', '.join(lacking) if lacking else 'can run'}")
    if lacking := missing(PEERS):
        lines.append(f"benchmark runs without PyTorch's side, which needs {', '.join(lacking)}")
    return lines


def missing(modules: tuple[str, ...]) -> list[str]:
    """Those that are not installed."""
    return [name for name in modules if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def sees_gpu() -> bool:
    """Whether JAX finds an accelerator; asked in a process of its own, which takes no memory."""
    code = "import sys, jax; sys.exit(jax.default_backend() == 'cpu')"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == 0


if __name__ == "__main__":
    sys.exit(run_program(main))
