"""A dataset written to disk reads back the same."""

import dataclasses
import os

import numpy as np
import pytest

from rffr_jax.data import export as module
from rffr_jax.data.export import export_dataset
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError
from rffr_jax.examples import Example

SIZE = 20


class Drawn:
    """Two reals and a fake of the first; the second real is bad."""

    examples = (
        Example("r0", "r0", 0, "drawn", "real", "v0", 0, "v0", "pair"),
        Example("r1", "r1", 0, "drawn", "real", "v1", 0, "v1"),
        Example("f0", "f0", 1, "drawn", "swap", "w0", 0, "v0", "pair"),
    )

    def load(self, index, size):
        if index == 1:
            raise BadImageError("r1", "no image")
        return np.random.default_rng(index).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    table = tmp_path_factory.mktemp("exported") / "drawn.csv"
    export_dataset(Drawn(), table, SIZE)
    return load_dataset(f"csv:{table}")


def test_examples_keep_what_is_known_of_them(written):
    kept = ("label", "dataset", "method", "video", "source", "group")
    found = [{name: getattr(e, name) for name in kept} for e in written.examples]
    expected = [dataclasses.asdict(e) for e in (Drawn.examples[0], Drawn.examples[2])]
    assert found == [{name: e[name] for name in kept} for e in expected]


def test_pixels_are_exact_and_bad_files_left_out(written):
    for place, index in enumerate((0, 2)):
        np.testing.assert_array_equal(written.load(place, SIZE), Drawn().load(index, SIZE))
    assert len(written.examples) == 2


@pytest.mark.parametrize(
    ("cores", "images", "expected"),
    [(1, 10_000, 1), (3, 10_000, 3), (64, 10_000, 8), (3, 255, 0), (3, 600, 2)],
)
def test_no_more_workers_than_cores_and_work(tmp_path, monkeypatch, cores, images, expected):
    asked = []

    def batches(dataset, **settings):
        asked.append(settings["workers"])
        return (batch for batch in ())

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setattr(module, "evaluation_batches", batches)
    drawn = Drawn()
    drawn.examples = Drawn.examples[:1] * images
    export_dataset(drawn, tmp_path / "drawn.csv", SIZE)
    assert asked == [expected]
