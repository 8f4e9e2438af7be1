"""Which program computed a number: its version and its git commit."""

import pathlib
import subprocess

import rffr_jax


def program_version() -> dict[str, str | None]:
    """`version`, and `commit` of the source tree that runs; None for an installed package.

    A commit that ends in `-dirty` was changed afterwards.
    """
    return {"version": rffr_jax.__version__, "commit": _commit()}


def _commit() -> str | None:
    folder = pathlib.Path(rffr_jax.__file__).parents[1]
    if not (folder / ".git").exists():
        return None
    describe = ("git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40")
    try:
        found = subprocess.run(
            (*describe, "--exclude=*"), capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
