"""Small benchmarks and their data sets, for the tests of the build."""

import json

import pytest

from rffr_jax.errors import UserError
from rffr_jax.faces.build import build_dataset
from rffr_jax.faces.media import Benchmark
from rffr_jax.faces.runners import run_sequentially
from tests.faces.movies import write_movie
from tests.faces.test_prepare import medium, settings, walk

IDS = ("real/a", "real/b", "real/c", "Deepfakes/a_b", "Deepfakes/b_a", "Face2Face/c_a")
SPLITS = {"a": "train", "b": "train", "c": "test"}


def make_benchmark(folder, ids=IDS, missing=()):
    """Three originals of 6 frames and fakes of 5; `c` is of the test part."""
    media = []
    for id_ in sorted(ids):
        path = folder / f"{id_}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_movie(path, walk(6 if id_.startswith("real") else 5))
        target = id_.partition("/")[2][0]
        media.append(medium(path, id_, split=SPLITS[target], source=f"real/{target}"))
    return Benchmark(tuple(media), tuple(missing))


def run_of(benchmark, output, run=run_sequentially, name="faces", bad=0.0, **changes):
    return build_dataset(
        benchmark, settings(2, **changes), output, name, run=run, max_bad_fraction=bad
    )


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def recording(done):
    """A runner of this process that notes what it prepares."""

    def run(work, tasks):
        for task in tasks:
            done.append(work.prepare(task))
            yield done[-1]

    return run


def stopping(after, error):
    """A runner that prepares so many media and then raises."""

    def run(work, tasks):
        for task in tasks[:after]:
            yield work.prepare(task)
        raise error

    return run


def refusal(*args, **kwargs):
    with pytest.raises(UserError) as caught:
        run_of(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def report_of(dataset):
    return json.loads((dataset / "report.json").read_text(encoding="utf-8"))
