"""The dataset that keeps its pixels in memory."""

import collections

import numpy as np
import pytest

from rffr_jax.data.cache import InMemoryDataset
from rffr_jax.errors import BadImageError
from rffr_jax.examples import Example


class Counting:
    """Three images, of which the last is bad; counts how often each is asked for."""

    examples = tuple(Example(n, n, 0, "test", "real", n, 0, n) for n in "abc")

    def __init__(self):
        self.loads = collections.Counter()

    def load(self, index, size):
        self.loads[index] += 1
        if index == 2:
            raise BadImageError("c", "no image")
        return np.full((size, size, 3), 40 * index, np.uint8)


def test_every_image_is_loaded_once():
    source = Counting()
    cached = InMemoryDataset(source, 8)
    assert cached.examples == source.examples
    assert not source.loads
    for _ in range(3):
        for index in (1, 0):
            np.testing.assert_array_equal(cached.load(index, 8), Counting().load(index, 8))
    assert source.loads == {0: 1, 1: 1}


def test_a_bad_file_is_remembered():
    source = Counting()
    cached = InMemoryDataset(source, 8)
    for _ in range(3):
        with pytest.raises(BadImageError) as caught:
            cached.load(2, 8)
        assert (caught.value.name, caught.value.reason) == ("c", "no image")
    assert source.loads == {2: 1}


def test_kept_pixels_cannot_be_changed_by_accident():
    cached = InMemoryDataset(Counting(), 8)
    with pytest.raises(ValueError, match="read-only"):
        cached.load(1, 8)[0, 0, 0] = 5


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="kept at 8 pixels, asked for 16"):
        InMemoryDataset(Counting(), 8).load(0, 16)
