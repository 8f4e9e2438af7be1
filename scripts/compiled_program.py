"""Work and traffic of a compiled program of one device, read from its text (XLA's HLO).

XLA's own `cost_analysis` counts the body of a loop once. Here a loop counts as often as it runs,
which XLA writes beside it.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

_BYTES = {
    **{"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2},
    **{"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8},
}
_SHAPE = re.compile(rf"\b({'|'.join(_BYTES)})\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%([\w.\-]+) = (\((?:[^()]|\([^()]*\))*\)|\S+) ([\w\-]+)\(")
_HEADER = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{\s*$")
_CALLED = re.compile(r"(?:calls|body|to_apply|true_computation|false_computation)=%([\w.\-]+)")
# They move nothing: names for what is there, or no work at run time.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call"),
    *("conditional", "after-all", "partition-id", "replica-id", "iota"),
}
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      shape: of its result, as text.
      operands: their names.
      rest: what stands behind the operands.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str


@dataclasses.dataclass(frozen=True)
class Work:
    """What one device does when the program runs once.

    Attributes:
      flops: of matrix products, 2 for a multiply-add.
      memory: bytes that its operations read and write, each result written once and read where it
        is used, of slices only the slice; caches and what is fused elsewhere are not known.
      network: bytes that it sends, with rings of devices, by kind of collective.
    """

    flops: int
    memory: int
    network: dict[str, float]


def work_of(text: str) -> Work:
    """The work of a program from `jax.stages.Compiled.as_text()`.

    Raises:
      ValueError: a loop in it does not say how often it runs.
    """
    computations, entry = _parse(text)
    flops, memory = 0, 0
    network: dict[str, float] = dict.fromkeys(COLLECTIVES, 0.0)
    for instruction, shapes, times, fused in _run(computations, entry, 1, False):
        if instruction.opcode == "dot":
            flops += times * _dot_flops(instruction, shapes)
        kind = instruction.opcode.removesuffix("-start")
        if kind in network:
            network[kind] += times * _sent(kind, instruction)
        if not fused and instruction.opcode not in _FREE:
            memory += times * _moved(instruction, shapes, computations)
    return Work(flops, memory, network)


def _parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", []
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif found := _INSTRUCTION.match(line):
            end = _closing(line, found.end())
            operands = tuple(re.findall(r"%([\w.\-]+)", line[found.end() : end]))
            current.append(Instruction(found[1], found[2], found[3], operands, line[end:]))
    return computations, entry


def _closing(line: str, start: int) -> int:
    depth = 1
    for place in range(start, len(line)):
        depth += {"(": 1, ")": -1}.get(line[place], 0)
        if not depth:
            return place
    return len(line)


def _run(
    computations: dict[str, list[Instruction]], name: str, times: int, fused: bool
) -> Iterator[tuple[Instruction, dict[str, str], int, bool]]:
    """Every instruction that runs, its computation's shapes, how often, and whether in a fusion."""
    shapes = {instruction.name: instruction.shape for instruction in computations[name]}
    for instruction in computations[name]:
        yield instruction, shapes, times, fused
        inner = times
        if instruction.opcode == "while":
            count = re.search(r'known_trip_count":\{"n":"(\d+)"', instruction.rest)
            if count is None:
                raise ValueError(f"the loop {instruction.name} does not say how often it runs")
            inner *= int(count[1])
        inside = fused or instruction.opcode not in ("while", "call", "conditional")
        for called in _CALLED.findall(instruction.rest):
            yield from _run(computations, called, inner, inside)


def _dot_flops(instruction: Instruction, shapes: dict[str, str]) -> int:
    (left,) = _dimensions(shapes[instruction.operands[0]])
    (output,) = _dimensions(instruction.shape)
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest)
    axes = [int(axis) for axis in contracted[1].split(",") if axis] if contracted else []
    return 2 * math.prod(output) * math.prod(left[axis] for axis in axes)


def _moved(
    instruction: Instruction, shapes: dict[str, str], computations: dict[str, list[Instruction]]
) -> int:
    """Bytes read and written; of an array that is sliced or updated in place only that part."""
    called = _CALLED.search(instruction.rest) if instruction.opcode == "fusion" else None
    if called is None:
        inside = [instruction]
        names = instruction.operands
    else:
        inside = computations[called[1]]
        shapes = {inner.name: inner.shape for inner in inside}
        names = tuple(inner.name for inner in inside if inner.opcode == "parameter")
    same = {name: name for name in shapes}  # of a view, the array that it is a view of
    for inner in inside:
        if inner.opcode == "bitcast":
            same[inner.name] = same.get(inner.operands[0], inner.operands[0])
    moved = 0
    for name in names:
        users = [
            inner
            for inner in inside
            if inner.opcode != "bitcast" and any(same.get(o, o) == name for o in inner.operands)
        ]
        if users and all(_touches_a_part(inner, name, same) for inner in users):
            moved += sum(_size(inner.shape) for inner in users if inner.opcode == "dynamic-slice")
        else:
            moved += _size(shapes.get(name, ""))
    last = inside[-1]
    while last.opcode == "bitcast":
        last = next(inner for inner in inside if inner.name == last.operands[0])
    updated = last.opcode == "dynamic-update-slice"
    return moved + _size(shapes[last.operands[1]] if updated else last.shape)


def _touches_a_part(user: Instruction, name: str, same: dict[str, str]) -> bool:
    first, *others = (same.get(operand, operand) for operand in user.operands)
    slices = user.opcode in ("dynamic-slice", "dynamic-update-slice")
    return slices and first == name and name not in others


def _sent(kind: str, instruction: Instruction) -> float:
    """Bytes that a device sends for one collective over a ring."""
    size = _size(instruction.shape)
    if kind == "collective-permute":  # it names pairs of devices, not groups
        return size
    group = _group_size(instruction.rest)
    if kind == "all-reduce":
        return 2 * size * (group - 1) / group
    if kind == "reduce-scatter":  # its result is a share
        return size * (group - 1)
    return size * (group - 1) / group


def _group_size(rest: str) -> int:
    """Devices of one replica group, in any of the ways that XLA writes them."""
    groups = re.search(r"replica_groups=(mesh[^{]*\{[^}]*\}|\S+)", rest)
    if groups is None:
        raise ValueError(f"a collective without replica groups: {rest[:200]}")
    if of_mesh := re.match(r"mesh\[(.*?)\][^{]*\{(.*?)\}", groups[1]):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", of_mesh[1]))
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", of_mesh[2])  # of an axis a part, too
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    if counted := re.match(r"\[(\d+),(\d+)\]<=", groups[1]):
        return int(counted[2])
    first = re.match(r"\{\{([\d,]*)\}", groups[1])
    if first is None:
        raise ValueError(f"replica groups of an unknown form: {groups[1]}")
    return len(first[1].split(","))


def _dimensions(shape: str) -> list[Sequence[int]]:
    return [[int(n) for n in sizes.split(",") if n] for _, sizes in _SHAPE.findall(shape)]


def _size(shape: str) -> int:
    return sum(
        _BYTES[kind] * math.prod(int(n) for n in sizes.split(",") if n)
        for kind, sizes in _SHAPE.findall(shape)
    )
