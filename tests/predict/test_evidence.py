"""The colours of the evidence pictures, and what they are said to mean."""

import numpy as np

from rffr_jax.evaluation.residual_reference import ResidualReference
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.predict.evidence import Explanation, describe_heat


def test_colours_of_the_heat():
    grey = np.full((48, 48, 3), 0.5, np.float32)
    for relative, level in ((None, 0.25), (np.array([[0, 1], [2, 9]], np.float32), 0.0)):
        heat = np.full((2, 2), level, np.float32)
        residual = np.zeros_like(grey)
        shown = Explanation(0.5, grey, grey, residual, heat, relative, BlockGrid(4, 2), 12, 4.0)
        drawn = np.asarray(shown.picture()).astype(int)
        left, top = 8 + 3 * 200, 15 + 16  # of the fourth picture, every pixel four times as large
        overlay = drawn[top + 48 : top + 192 : 96, left + 48 : left + 192 : 96]
        red_over_blue = overlay[..., 0] - overlay[..., 2]
        if relative is None:
            assert np.ptp(red_over_blue) == 0
            continue
        assert red_over_blue[0, 0] < -50
        assert abs(red_over_blue[0, 1]) < 5
        assert red_over_blue[1, 0] == red_over_blue[1, 1] > 50


def test_what_colours_mean_is_said():
    high = np.full((2, 2), 0.3)
    said = describe_heat(ResidualReference(high, high, 212, 0.384, ("v",)))
    assert "95th percentile that 212 real validation faces have" in said
    assert "38 % of those real faces have a block above 1" in said
    assert "no reference of real faces is known" in describe_heat(None)
