"""Which arrays of a checkpoint are not those that a model asks for."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jaxtyping import PyTree

SHOWN = 4


def differences(saved: pathlib.Path, abstract: PyTree) -> str:
    """The arrays that are elsewhere or of another shape, with both shapes; '' where all fit.

    Args:
      saved: one item of a checkpoint, such as `.../7/parameters`.
      abstract: the shapes that are asked for.
    """
    there = _shapes(ocp.PyTreeCheckpointHandler().metadata(epath.Path(saved)).tree)
    asked = _shapes(abstract)
    different = [
        f"{name}: {there.get(name, 'nothing')} there, {asked.get(name, 'nothing')} here"
        for name in sorted(there.keys() | asked.keys())
        if there.get(name) != asked.get(name)
    ]
    more = [f"and {len(different) - SHOWN} more"] if len(different) > SHOWN else []
    return "; ".join(different[:SHOWN] + more)


def _shapes(tree: PyTree) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): "x".join(map(str, leaf.shape)) or "a number" for path, leaf in leaves}


def _name(path: tuple[Any, ...]) -> str:
    """A path of keys, indices and fields, as Orbax names it: `layer.0.kernel`."""
    return ".".join(
        str(getattr(part, "key", getattr(part, "idx", getattr(part, "name", part))))
        for part in path
    )
