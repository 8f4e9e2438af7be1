"""Tiny ONNX files, written by hand because no package that writes them is needed elsewhere.

Numbers of fields are those of ONNX's `onnx.proto`.
"""

from collections.abc import Sequence

import numpy as np

_INT64, _BYTES = 0, 2  # wire types
_FLOAT = 1  # of tensors


def make_onnx(
    nodes: Sequence[bytes],
    input_shape: Sequence[int | str],
    outputs: Sequence[str],
    weights: dict[str, np.ndarray] | None = None,
) -> bytes:
    """An ONNX file with the input `x`, of float32.

    Args:
      nodes: of `node`, each after those that it needs.
      input_shape: sides, or names of those that are not fixed.
      outputs: names of results.
      weights: float32 or int64, by name.
    """
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"graph")
    graph += b"".join(_field(5, _tensor(name, a)) for name, a in (weights or {}).items())
    graph += _field(11, _value("x", input_shape))
    graph += b"".join(_field(12, _value(name, None)) for name in outputs)
    return _number(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 13))


def node(kind: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> bytes:
    """One operation."""
    result = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode())
    result += _field(4, kind.encode())
    for name, value in attributes.items():
        several = isinstance(value, list)
        numbers = value if isinstance(value, list) else [value]
        content = b"".join(_number(8 if several else 3, number) for number in numbers)
        result += _field(5, _field(1, name.encode()) + content + _number(20, 7 if several else 2))
    return result


def heatmap_network(outputs: int = 1) -> bytes:
    """Input 256 x 256; its 68 heatmaps of 64 x 64 are means of red, green and blue in turn.

    Args:
      outputs: how many it gives; all but the last are those of the other order, blue first.
    """
    kernel = np.zeros((68, 3, 1, 1), np.float32)
    kernel[np.arange(68), np.arange(68) % 3] = 1
    nodes = [
        node("AveragePool", ["x"], "small", kernel_shape=[4, 4], strides=[4, 4]),
        node("Conv", ["small", "wrong"], "y0"),
        node("Conv", ["small", "kernel"], "y"),
    ]
    names = ["y0"] * (outputs - 1) + ["y"]
    weights = {"kernel": kernel, "wrong": kernel[:, ::-1].copy()}
    return make_onnx(nodes, (1, 3, 256, 256), names, weights)


def point_network(points: np.ndarray, size: int = 112, red: float = 0.01) -> bytes:
    """Gives `points` [68, 2], to which it adds `red` times the mean of red.

    Args:
      points: fractions of the square.
      size: of the input.
      red: how much the points depend on the picture.
    """
    kernel = np.zeros((points.size, 3, 1, 1), np.float32)
    kernel[:, 0] = red
    nodes = [
        node("GlobalAveragePool", ["x"], "mean"),
        node("Conv", ["mean", "kernel", "bias"], "wide"),
        node("Flatten", ["wide"], "y"),
    ]
    weights = {"kernel": kernel, "bias": points.astype(np.float32).ravel()}
    return make_onnx(nodes, (1, 3, size, size), ["y"], weights)


def _value(name: str, shape: Sequence[int | str] | None) -> bytes:
    tensor = _number(1, _FLOAT)
    if shape is not None:
        sides = [
            _number(1, side) if isinstance(side, int) else _field(2, side.encode())
            for side in shape
        ]
        tensor += _field(2, b"".join(_field(1, side) for side in sides))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _tensor(name: str, array: np.ndarray) -> bytes:
    kind = _FLOAT if array.dtype == np.float32 else 7
    sides = b"".join(_number(1, side) for side in array.shape)
    return sides + _number(2, kind) + _field(8, name.encode()) + _field(9, array.tobytes())


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _INT64) + _varint(value)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    return bytes([*result, value])
