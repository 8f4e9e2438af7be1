import pathlib

import pytest

from scripts.benchmark.setup import Setup


@pytest.fixture
def setup(tmp_path):
    return Setup(
        size="tiny",
        image_size=56,
        patch_size=4,
        k=4,
        dtype="float32",
        batch=2,
        matrix=8,
        huggingface="hf",
        configs=pathlib.Path(__file__).parents[3] / "configs",
        folder=tmp_path,
    )
