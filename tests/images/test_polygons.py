"""Masks of polygons against areas that are counted by hand."""

import numpy as np
import pytest

from rffr_jax.images.polygons import hull_overlap


def test_overlap_of_two_squares():
    """Of 20 x 20 pixels, shifted by 5 and 10, they share 15 x 10."""
    square = np.array([[0, 0], [19, 0], [19, 19], [0, 19], [9, 9]], np.float32)
    assert hull_overlap(square + 3, square + [8, 13], 64) == pytest.approx(150 / (800 - 150))
    assert hull_overlap(square, square, 64) == 1
    assert hull_overlap(square, square + 30, 64) == 0
    assert hull_overlap(square + 100, square + 200, 64) == 0
