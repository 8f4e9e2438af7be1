"""Name tables: a rule maps an array of another project to a part of ours, and back.

A table is a list of rules. A rule's `name` is a pattern: `{n}` stands for the number of a
transformer block; the arrays of all blocks are stacked on a leading axis here. Every transform has
an inverse, so one table serves both ways, and an import and an export give the same bits.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from rffr_jax.errors import UserError

NAMED_AT_MOST = 6


@dataclasses.dataclass(frozen=True)
class Transform:
    """Turns an array of the source into ours, and back.

    The way back needs the number of heads, which our arrays do not show.
    """

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_source: Callable[[np.ndarray, int], np.ndarray]


def _channels_last(kernel: np.ndarray) -> np.ndarray:
    """A convolution's [out, channel, row, column] as [row * column * channel, out]."""
    return _flat(kernel.transpose(2, 3, 1, 0))


def _flat(kernel: np.ndarray) -> np.ndarray:
    """[row, column, channel, out] as [row * column * channel, out].

    Raises: ValueError for other axes, which would come out scrambled.
    """
    rows, columns, channels, out = kernel.shape
    if rows != columns or channels != 3:
        raise ValueError(f"{kernel.shape} is no square patch of three colours")
    return kernel.reshape(-1, out)


def _channels_first(kernel: np.ndarray, _: int) -> np.ndarray:
    patch = round((len(kernel) / 3) ** 0.5)
    return kernel.reshape(patch, patch, 3, -1).transpose(3, 2, 0, 1)


def _patch_rows(kernel: np.ndarray, _: int) -> np.ndarray:
    patch = round((len(kernel) / 3) ** 0.5)
    return kernel.reshape(patch, patch, 3, -1)


def _kernel(kernel: np.ndarray) -> np.ndarray:
    """A convolution's [out, channel, row, column] as [row, column, channel, out]; a 1 x 1 one may
    come without its last two axes."""
    kernel = kernel[:, :, None, None] if kernel.ndim == 2 else kernel
    return kernel.transpose(2, 3, 1, 0)


SAME = Transform(lambda a: a, lambda a, _: a)
TRANSPOSED = Transform(lambda a: a.T, lambda a, _: a.T)
VECTOR = Transform(lambda a: a.reshape(-1), lambda a, _: a.reshape(1, 1, -1))
ONE_BEFORE = Transform(lambda a: a[0], lambda a, _: a[None])
PATCHES_ONLY = Transform(lambda a: np.pad(a[0], ((1, 0), (0, 0))), lambda a, _: a[None, 1:])
"""Positions of patches alone: the class token's is 0."""
CONVOLUTION = Transform(_channels_last, _channels_first)
FLAX_CONVOLUTION = Transform(_flat, _patch_rows)
KERNEL = Transform(_kernel, lambda a, _: a.transpose(3, 2, 0, 1))
POINTWISE_LINEAR = Transform(lambda a: a[:, :, 0, 0].T, lambda a, _: a.T[:, :, None, None])
TO_HEADS = Transform(lambda a: a.reshape(len(a), -1), lambda a, heads: a.reshape(len(a), heads, -1))
HEADS = Transform(lambda a: a.reshape(-1), lambda a, heads: a.reshape(heads, -1))
FROM_HEADS = Transform(
    lambda a: a.reshape(-1, a.shape[-1]), lambda a, heads: a.reshape(heads, -1, a.shape[-1])
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One array of the source, or one for each block.

    Attributes:
      name: of the source's array, `{n}` for the number of the block.
      path: of ours; "" for an optional array without a place here, such as a classifier's head;
        `*` in the name then stands for anything.
      transform: between the two arrays.
      part: the third of our array's last axis that it fills (query, key, value); None: all.
    """

    name: str
    path: str = ""
    transform: Transform = SAME
    part: int | None = None

    def block(self, name: str) -> int | None:
        """The number of the array's block, 0 without blocks; None if the name does not match."""
        pattern = re.escape(self.name).replace(r"\{n\}", r"(\d+)").replace(r"\*", ".*")
        found = re.fullmatch(pattern, name)
        return found and int(found[1] if found.groups() else 0)

    @property
    def stacked(self) -> bool:
        return "{n}" in self.name

    def place(self, array: np.ndarray, block: int) -> np.ndarray:
        """The part of our array that the source's array fills; a view."""
        place = array[block] if self.stacked else array
        if self.part is None:
            return place
        width = place.shape[-1] // 3
        return place[..., self.part * width : (self.part + 1) * width]


def to_ours(
    source: Mapping[str, np.ndarray], table: Sequence[Rule], abstract: PyTree, where: str
) -> tuple[PyTree, list[str]]:
    """The source's arrays as our parameters.

    Args:
      source: arrays by name; each is read once.
      abstract: our parameters' shapes, as `eval_shape` gives them.
      where: the file, for messages.

    Returns:
      float32 parameters, and the names that were left out.

    Raises:
      UserError: arrays have no rule or no place, are missing or misshaped, or hold numbers that are
        not finite; one message names all of them.
    """
    ours = {path: np.empty(leaf.shape, np.float32) for path, leaf in _leaves(abstract)}
    filled: set[tuple[str, int]] = set()
    left_out, problems = [], _Problems()
    for name in source:
        found = find_rule(table, name)
        if found is None:
            problems.add("no such array here", name)
            continue
        rule, block = found
        if not rule.path:
            left_out.append(name)
        elif rule.stacked and block >= len(ours[rule.path]):
            problems.add("one block too many", name)
        else:
            filled.add((rule.name, block))
            _fill(source[name], name, rule, block, ours, problems)
    for rule, block in _list_arrays(table, ours):
        if (rule.name, block) not in filled:
            problems.add("missing", rule.name.format(n=block))
    problems.raise_any(where)
    return _tree(abstract, ours), left_out


def _fill(
    array: np.ndarray,
    name: str,
    rule: Rule,
    block: int,
    ours: Mapping[str, np.ndarray],
    problems: "_Problems",
):
    place = rule.place(ours[rule.path], block)
    try:
        taken = rule.transform.to_ours(array)
    except (ValueError, IndexError):  # another number of axes
        taken = array
    if taken.shape != place.shape:
        problems.add("misshaped", f"{name} {array.shape}")
    elif not np.isfinite(array).all():
        problems.add("with numbers that are not finite", name)
    else:
        place[...] = taken


def to_source(parameters: PyTree, table: Sequence[Rule], heads: int) -> dict[str, np.ndarray]:
    """Our parameters as the source's arrays, by name; arrays without a place here are missing.

    Args:
      heads: of the encoder's attention.
    """
    ours = {path: np.asarray(leaf) for path, leaf in _leaves(parameters)}
    arrays = {}
    for rule, block in _list_arrays(table, ours):
        part = rule.place(ours[rule.path], block)
        array = rule.transform.to_source(part, heads)
        arrays[rule.name.format(n=block)] = np.ascontiguousarray(array)
    return arrays


def _list_arrays(
    table: Sequence[Rule], ours: Mapping[str, np.ndarray]
) -> Iterator[tuple[Rule, int]]:
    """Every array of a table: its rule and its block."""
    for rule in table:
        if rule.path:
            for block in range(len(ours[rule.path]) if rule.stacked else 1):
                yield rule, block


def find_rule(table: Iterable[Rule], name: str) -> tuple[Rule, int] | None:
    """The rule for an array of the source, and the number of its block."""
    for rule in table:
        block = rule.block(name)
        if block is not None:
            return rule, block
    return None


def _leaves(tree: PyTree) -> list[tuple[str, Any]]:
    return [
        ("/".join(key.key for key in path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _tree(abstract: PyTree, arrays: Mapping[str, np.ndarray]) -> PyTree:
    leaves = [arrays[path] for path, _ in _leaves(abstract)]
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(abstract), leaves)


class _Problems:
    """The problems of a file's arrays, by kind."""

    def __init__(self):
        self._names: dict[str, list[str]] = {}

    def add(self, kind: str, name: str):
        self._names.setdefault(kind, []).append(name)

    def raise_any(self, where: str):
        if not self._names:
            return
        parts = []
        for kind, names in self._names.items():
            shown = ", ".join(names[:NAMED_AT_MOST])
            more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
            parts.append(f"{kind}: {shown}{more}")
        raise UserError(f"{where} does not fit; {'; '.join(parts)}")
