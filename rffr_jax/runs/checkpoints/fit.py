"""Which arrays of a checkpoint are not those that a model asks for."""

import pathlib
from collections.abc import Mapping
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
    there = ocp.PyTreeCheckpointHandler().metadata(epath.Path(saved)).tree
    return differences_between(array_names(there), array_names(abstract))


def differences_between(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """As `differences`, of arrays by their names."""
    there, asked = _shapes(found), _shapes(wanted)
    different = [
        f"{name}: {there.get(name, 'nothing')} there, {asked.get(name, 'nothing')} here"
        for name in sorted(there.keys() | asked.keys())
        if there.get(name) != asked.get(name)
    ]
    more = [f"and {len(different) - SHOWN} more"] if len(different) > SHOWN else []
    return "; ".join(different[:SHOWN] + more)


def array_names(tree: PyTree) -> dict[str, Any]:
    """The arrays of a tree by their path, as Orbax names it: `layer.0.kernel`."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _shapes(arrays: Mapping[str, Any]) -> dict[str, str]:
    return {name: "x".join(map(str, array.shape)) or "a number" for name, array in arrays.items()}


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(
        str(getattr(part, "key", getattr(part, "idx", getattr(part, "name", part))))
        for part in path
    )
