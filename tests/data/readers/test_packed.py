"""A detector trains and evaluates straight from Parquet files and from tar shards."""

import csv
import json

import pytest

from rffr_jax.images.alignment import template_landmarks
from tests import jobs
from tests.data.readers.test_parquet import write_columns
from tests.data.readers.test_tar import write_tar


def pack(kind, folder, name, seed):
    """Drawn faces, with points that are known of the reals; the spec that reads them."""
    jobs.draw_faces(folder / name, seed=seed)
    with (folder / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = template_landmarks(jobs.SIZE).ravel().tolist()
    for row in rows:
        row["landmarks"] = points if row["label"] == "0" else []
        row["image"] = (folder / row["path"]).read_bytes()
    if kind == "parquet":
        names = ("image", "label", "method", "dataset", "source", "landmarks")
        columns = {name: [row[name] for row in rows] for name in names}
        return write_columns(folder / f"{name}.parquet", columns)
    members = {}
    for number, row in enumerate(rows):
        members[f"{number:03d}.png"] = row.pop("image")
        members[f"{number:03d}.json"] = json.dumps(row).encode()
    return write_tar(folder / f"{name}.tar", members)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_a_detector_trains_and_evaluates(tmp_path, kind):
    train, validation, test = (
        pack(kind, tmp_path, name, seed) for seed, name in enumerate(("train", "val", "test"))
    )
    mae, detector, blended, results = (tmp_path / x for x in ("mae", "detector", "blend", "out"))
    data = (f"data.train={train}", f"data.validation={validation}")
    assert jobs.start("pretrain", mae, *data) == 0
    assert jobs.start("detect", detector, *data, f"mae={mae}", "data.methods=rows") == 0
    assert jobs.start("detect", blended, *data, f"mae={mae}", "data.fakes=self_blended") == 0
    tests = (f"detector={detector}", f"data.tests={test}", f"data.validation={validation}")
    assert jobs.start("evaluate", results, *tests, "data.workers=1") == 0
    found = json.loads((results / "results.json").read_text())
    methods = found["faces"]["methods"]
    assert set(methods) == {"rows", "columns"}
    for numbers in methods.values():
        assert (numbers["n_real"], numbers["n_fake"], numbers["n_bad"]) == (6, 6, 0)
