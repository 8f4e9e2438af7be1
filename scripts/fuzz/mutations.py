"""Bytes and JSON values of a file, changed, repeated or taken out at random."""

import json
from typing import Any

import numpy as np

ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF)
ODD_VALUES = (None, True, -1, 0, 1e308, float("nan"), 10**400, "", "x", [], {}, [None], "\ud800")


def mutate(whole: bytes, donor: bytes, rng: np.random.Generator, *, is_json: bool) -> bytes:
    """The bytes of a file with one to eight faults.

    Args:
      donor: of a file of the same kind, whose bytes may replace some.
      is_json: whether its values may be changed, too.
    """
    if is_json and rng.random() < 0.6:
        return _other_values(whole, rng)
    data = bytearray(whole)
    for _ in range(rng.integers(1, 9)):
        if not data:
            break
        at = int(rng.integers(len(data)) * rng.choice([1.0, 0.1]))  # headers are worth more
        length = int(rng.integers(1, 65))
        match rng.integers(8):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.choice(ODD_NUMBERS))
            case 2:
                data[at : at + length] = rng.bytes(length)
            case 3:
                data[at:at] = rng.bytes(length)
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + length]
            case 6:
                four = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF]))
                data[at : at + 4] = four.to_bytes(4, "big" if rng.random() < 0.5 else "little")
            case 7:
                start = int(rng.integers(len(donor)))
                data[at : at + length] = donor[start : start + length]
    if rng.random() < 0.15:
        del data[int(rng.integers(len(data) + 1)) :]
    return bytes(data)


def _other_values(whole: bytes, rng: np.random.Generator) -> bytes:
    """JSON, or JSON lines, in which one value is another one or is missing."""
    lines = whole.decode().splitlines()
    if lines[0] == "{" or len(lines) == 1:  # one object
        lines = ["".join(lines)]
    number = int(rng.integers(len(lines)))
    start = lines[number].find("{")
    if rng.random() < 0.05:
        lines[number] = "[" * 100_000
    elif start >= 0:
        value = json.loads(lines[number][start:])
        lines[number] = lines[number][:start] + json.dumps(_changed(value, rng))
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


def _changed(value: Any, rng: np.random.Generator) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return ODD_VALUES[rng.integers(len(ODD_VALUES))]
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    place = places[rng.integers(len(places))]
    if rng.random() < 0.15:
        del value[place]
    else:
        value[place] = _changed(value[place], rng)
    return value
