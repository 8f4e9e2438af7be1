"""Job `robustness`."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import jobs

LEVELS = ("corruptions.blur=()", "corruptions.jpeg=()", "corruptions.noise=0.0,80.0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, detector, faces):
    workdir = tmp_path_factory.mktemp("runs") / "robustness"
    spec = f"data.tests=csv:{faces}/test.csv"
    flags = (f"detector={detector}", spec, *LEVELS, "corruptions.resize=0.25,")
    assert jobs.start("robustness", workdir, *flags) == 0
    return workdir


def test_every_level_is_beside_clean_images(finished, detector, faces, tmp_path):
    table = json.loads((finished / "robustness.json").read_text())
    rows = table["rows"]
    places = [(row["kind"], row["level"], row["fakes"]) for row in rows]
    fakes = ("columns", "rows", "(mean)")
    levels = (("resize", 0.25), ("noise", 0.0), ("noise", 80.0))
    assert places == [(*level, name) for level in levels for name in fakes]
    flags = (f"detector={detector}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path, *flags) == 0
    clean = json.loads((tmp_path / "results.json").read_text())["faces"]
    for row in rows:
        expected = clean["mean_all"]
        if row["fakes"] != "(mean)":
            expected = clean["methods"][row["fakes"]]["auc"]
        assert row["clean_auc"] == pytest.approx(expected)
        assert row["change"] == pytest.approx(row["auc"] - row["clean_auc"])
        if row["level"] == 0:  # no noise at all
            assert (row["change"], row["change_ci95"]) == (0.0, [0.0, 0.0])
    assert table["about"]["rule"] == "last"
    assert not (finished / "residuals").exists()


def test_scores_are_those_of_corrupted_files(finished, detector, faces, tmp_path):
    """The same images corrupted by hand, written as PNG files and evaluated."""
    (tmp_path / "test").mkdir()
    for file in (faces / "test").iterdir():
        small = Image.open(file).resize((12, 12), Image.Resampling.BILINEAR)
        large = small.resize((jobs.SIZE, jobs.SIZE), Image.Resampling.BILINEAR)
        large.save(tmp_path / "test" / file.name)
    (tmp_path / "test.csv").write_bytes((faces / "test.csv").read_bytes())
    flags = (f"detector={detector}", f"data.tests=csv:{tmp_path}/test.csv")
    assert jobs.start("evaluate", tmp_path / "run", *flags) == 0
    by_hand = json.loads((tmp_path / "run" / "results.json").read_text())["faces"]["methods"]
    rows = json.loads((finished / "robustness.json").read_text())["rows"]
    found = {row["fakes"]: row for row in rows if row["kind"] == "resize"}
    for method, entry in by_hand.items():
        assert found[method]["auc"] == pytest.approx(entry["auc"])
    assert found["(mean)"]["change"] < -0.1  # what a quarter of the pixels cannot hold is gone


def test_table_and_picture(finished):
    text = (finished / "robustness.md").read_text()
    assert "AUC in %, faces" in text
    assert "checkpoint: last, chosen by rule: last" in text
    assert text.count("\n| noise ") == 2
    with Image.open(finished / "robustness.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("corruptions.jpeg=0,",), "corruptions.jpeg: 0; a level lies from 1 to 100"),
        ((*LEVELS[:2], "corruptions.noise=()", "corruptions.resize=()"), "no level at all"),
        (("checkpoint=matched",), "checkpoint='matched' is not in"),
    ],
)
def test_mistakes_are_one_line(tmp_path, detector, faces, capsys, flags, message):
    spec = f"data.tests=csv:{faces}/test.csv"
    assert jobs.start("robustness", tmp_path / "run", f"detector={detector}", spec, *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()
