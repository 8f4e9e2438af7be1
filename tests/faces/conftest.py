"""Fixtures of the tests of the build."""

import pytest

from rffr_jax.faces import prepare
from tests.faces.builds import content, make_benchmark, run_of
from tests.faces.test_prepare import BrightSquares


@pytest.fixture(scope="module")
def bright_squares():
    """Bright rectangles are the faces."""
    detector = BrightSquares()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "load_detector", lambda name, weights: detector)
        yield


@pytest.fixture(scope="module")
def benchmark(bright_squares, tmp_path_factory):
    """Not to be changed by a test."""
    return make_benchmark(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="module")
def whole(benchmark, tmp_path_factory):
    """The files of the benchmark's data set, made without a break."""
    return content(run_of(benchmark, tmp_path_factory.mktemp("whole")))
