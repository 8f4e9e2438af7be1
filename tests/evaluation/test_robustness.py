"""Job `robustness`."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from rffr_jax.evaluation import frame_faces
from rffr_jax.faces.face import Face
from rffr_jax.images.corruptions import CORRUPTIONS
from tests import jobs

LEVELS = (
    *("corruptions.blur=()", "corruptions.jpeg=()", "corruptions.noise=0.0,80.0"),
    "corruptions.format=()",
)


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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, faces):
    """Each test face, bright, on a dark photograph, and one without a face."""
    folder = tmp_path_factory.mktemp("photographs")
    lines = ["path,label,method,dataset"]
    with (faces / "test.csv").open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            face = np.asarray(Image.open(faces / row["path"])) // 4 + 180
            picture = np.full((120, 160, 3), 30, np.uint8)
            picture[40 : 40 + jobs.SIZE, 70 : 70 + jobs.SIZE] = face
            Image.fromarray(picture).save(folder / f"{number}.png")
            lines.append(f"{number}.png,{row['label']},{row['method']},photographs")
    Image.fromarray(np.full((120, 160, 3), 30, np.uint8)).save(folder / "dark.png")
    lines.append("dark.png,0,real,photographs")
    (folder / "media.csv").write_text("\n".join(lines))
    return folder / "media.csv"


class OneFace:
    """A `FaceDetector` that finds the one bright square, and nothing in a corrupted picture."""

    def detect(self, image):
        rows, columns = np.nonzero((image > 170).all(axis=-1))
        if not len(rows):
            return []
        box = np.array([columns.min(), rows.min(), columns.max(), rows.max()], np.float32)
        inside = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.75], [0.65, 0.75]])
        landmarks = (box[:2] + inside * (box[2:] - box[:2])).astype(np.float32)
        return [Face(box, landmarks, 0.9)]


def test_whole_photographs_are_corrupted_before_the_face_is_cut_out(
    tmp_path, detector, photographs, monkeypatch
):
    monkeypatch.setattr(frame_faces, "load_detector", lambda *_: OneFace())
    seen = []
    crop_face = frame_faces.crop_face
    monkeypatch.setattr(
        frame_faces, "crop_face", lambda *of: (seen.append(of[:2]), crop_face(*of))[1]
    )
    flags = (f"detector={detector}", f"data.tests=csv:{photographs}", "on=frames")
    levels = (*LEVELS[:2], "corruptions.noise=0.0,90.0", "corruptions.resize=()", LEVELS[3])
    assert jobs.start("robustness", tmp_path / "run", *flags, *levels) == 0
    table = json.loads((tmp_path / "run" / "robustness.json").read_text())
    places = [(row["level"], row["on"]) for row in table["rows"] if row["fakes"] == "(mean)"]
    assert places == [(0.0, "crops"), (0.0, "frames"), (90.0, "crops"), (90.0, "frames")]
    changes = [row["change"] for row in table["rows"] if row["level"] == 0]
    assert changes == [0.0] * len(changes)
    (found,) = table["about"]["without_face"].values()
    assert found == {"dark.png": "no face"}
    noisy = [face for picture, face in seen if picture[0].std() > 20]  # beside every face, too
    assert len(noisy) == 18
    assert {tuple(face.box.tolist()) for face in noisy} == {(70.0, 40.0, 117.0, 87.0)}
    text = (tmp_path / "run" / "robustness.md").read_text()
    assert text.count("noise 90, whole picture") == 1
    assert "1 without a face that can be used\n- dark.png: no face" in text
    assert (tmp_path / "run" / "robustness.png").is_file()


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
        (tuple(f"corruptions.{kind}=()" for kind in CORRUPTIONS), "no level at all"),
        (("checkpoint=matched",), "checkpoint='matched' is not in"),
        (("on=videos",), "on='videos' is not known; choose crops or frames"),
    ],
)
def test_mistakes_are_one_line(tmp_path, detector, faces, capsys, flags, message):
    spec = f"data.tests=csv:{faces}/test.csv"
    assert jobs.start("robustness", tmp_path / "run", f"detector={detector}", spec, *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()
