"""Job `robustness`."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.evaluation import frame_faces
from rffr_jax.evaluation.frame_faces import FaceFinder
from rffr_jax.evaluation.robustness import format_robustness
from rffr_jax.faces import detectors, prepare
from rffr_jax.faces.crop import CropSettings
from rffr_jax.faces.face import Face
from rffr_jax.faces.prepare import PreparationSettings
from rffr_jax.images.corruptions import CORRUPTIONS
from tests import jobs
from tests.faces.test_prepare import BrightSquares
from tests.faces.test_shards import draw_records, write

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

    digest = "1" * 64

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
    monkeypatch.setattr(prepare, "load_detector", lambda *_: OneFace())
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
    assert found == {"dark.png": "no face of 24 pixels or more"}
    faces = table["about"]["faces"]
    assert (faces["detector"], faces["weights_sha256"]) == ("retinaface", "1" * 64)
    assert not faces["preparation_known"]
    noisy = [face for picture, face in seen if picture[0].std() > 20]  # beside every face, too
    assert len(noisy) == 18
    assert {tuple(face.box.tolist()) for face in noisy} == {(70.0, 40.0, 117.0, 87.0)}
    text = (tmp_path / "run" / "robustness.md").read_text()
    assert text.count("noise 90, whole picture") == 1
    assert "1 without a face that can be used\n- dark.png: no face" in text
    assert f"faces were found by default, by retinaface with weights of SHA-256 {'1' * 64}" in text
    assert (tmp_path / "run" / "robustness.png").is_file()


@pytest.fixture
def two_faces(tmp_path):
    """Photographs of two people; of each fake the original is known, or not."""
    pixels = np.random.default_rng(0).integers(40, 60, (120, 200, 3), np.uint8)
    pixels[20:80, 10:70] = 200
    pixels[40:80, 120:160] = 200
    Image.fromarray(pixels).save(tmp_path / "original.png")
    Image.fromarray(pixels).save(tmp_path / "other.png")
    pixels[45:75, 125:155] = 240  # the smaller face
    Image.fromarray(pixels).save(tmp_path / "fake.png")
    Image.fromarray(pixels).save(tmp_path / "unknown.png")
    rows = ("original.png,0,", "other.png,0,", "fake.png,1,original.png", "unknown.png,1,")
    (tmp_path / "media.csv").write_text("\n".join(["path,label,source", *rows]))
    return f"csv:{tmp_path}/media.csv"


@pytest.mark.parametrize(
    ("faces", "widths", "told_by"),
    [
        ("manipulated", [40, 60, 40, 60], ["difference", "largest", "difference", "largest"]),
        ("largest", [60, 60, 60, 60], ["largest"] * 4),
        ("all", [60, 40] * 4, ["all"] * 4),
    ],
)
def test_the_face_that_a_preparation_takes(
    tmp_path, two_faces, monkeypatch, faces, widths, told_by
):
    finder = BrightSquares()
    for module in (prepare, detectors):
        monkeypatch.setattr(module, "load_detector", lambda *_: finder)
    crop = CropSettings(size=32, alignment="box")
    recorded = PreparationSettings(crop=crop, smallest_face=20, faces=faces).to_json()
    search = FaceFinder([recorded], None)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (found,) = search.find({two_faces: load_dataset(two_faces)}, pictures, 1)
    assert [round(float(face.box[2] - face.box[0])) + 1 for face in found.faces] == widths
    assert list(search.several_faces[two_faces].values()) == told_by
    assert search.about["preparation_known"]
    assert (found.crop, search.about["weights_sha256"]) == (crop, finder.digest)
    assert len({example.id for example in found.examples}) == len(widths)
    assert found.load(0, 32).shape == (32, 32, 3)


def test_pictures_of_a_video_are_compared_with_the_same_moment(tmp_path, monkeypatch):
    compared = {}

    def take(path, *_, **other):
        compared[path.name] = [file.name for file in other.values()]
        raise BadImageError(str(path), "not looked at")

    monkeypatch.setattr(frame_faces, "take_faces", take)
    rows = [f"{kind}{n}.png,{kind == 'f':d},{kind},v" for n in (1, 2) for kind in "vf"]
    (tmp_path / "media.csv").write_text(
        "\n".join(["path,label,video,source", *rows, "g3.png,1,g,v"])
    )
    (tmp_path / "pictures").mkdir()
    spec = f"csv:{tmp_path}/media.csv"
    with pytest.raises(UserError, match="not looked at"):
        FaceFinder([], None).find({spec: load_dataset(spec)}, tmp_path / "pictures", 1)
    assert compared == {
        "v1.png": ["f1.png"], "f1.png": ["v1.png"], "v2.png": ["f2.png"], "f2.png": ["v2.png"],
        "g3.png": ["v1.png"],
    }  # fmt: skip


def test_media_with_several_faces_are_named():
    about = {"checkpoint": "last", "rule": "last", "note": "", "without_face": {}}
    told = {"a.mp4": "difference", "b.mp4": "largest", "c.mp4": "largest"}
    faces = {"faces": "manipulated", "detector": "yunet", "weights_sha256": "f" * 64}
    known = {"faces": faces | {"preparation_known": True}, "several_faces": {"csv:t.csv": told}}
    text = format_robustness([], about | known)
    assert "1 media of csv:t.csv show several faces; the one that differs from the" in text
    unknown = "the largest is taken, as nothing tells which one was manipulated\n- b.mp4\n- c.mp4"
    assert f"2 media of csv:t.csv show several faces; {unknown}" in text
    assert "found as the training faces were, by yunet with weights of SHA-256 ffff" in text
    known["faces"]["faces"] = "largest"
    assert "several faces; the largest is taken\n\n" in format_robustness([], about | known)


def test_faces_that_cannot_be_found_as_the_training_faces_are_refused(two_faces, monkeypatch):
    finder = BrightSquares()
    monkeypatch.setattr(detectors, "load_detector", lambda *_: finder)
    recorded = {"detector": "yunet", "weights_sha256": "2" * 64}
    with pytest.raises(UserError, match=r"by YuNet; name its ONNX file with --config"):
        FaceFinder([recorded], None)
    with pytest.raises(UserError, match=r"with other weights \(SHA-256 222222222222.*on=crops"):
        FaceFinder([recorded | {"detector": "retinaface"}], None)


def test_media_that_hold_no_face_at_all_are_refused(tmp_path, two_faces, monkeypatch):
    monkeypatch.setattr(prepare, "load_detector", lambda *_: OneFace())
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{number % 2}" for number in range(4)]
    (tmp_path / "dark.csv").write_text("\n".join(["path,label", *rows]))
    spec = f"csv:{tmp_path}/dark.csv"
    with pytest.raises(UserError, match=r"a face was found in none of 4 media \(the first, 0.png"):
        FaceFinder([], None).find({spec: load_dataset(spec)}, tmp_path / "pictures", 1)


def test_prepared_records_hold_no_whole_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "load_detector", lambda *_: OneFace())
    write(tmp_path, {"test": draw_records(1, "png")})
    spec = f"tfds:{tmp_path}/faces#test"
    with pytest.raises(UserError, match="prepared records hold crops; name photographs and videos"):
        FaceFinder([], None).refuse_records({spec: load_dataset(spec)})


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
        (("corruptions.jpeg=0,",), "corruptions.jpeg: 0; give a level from 1 to 100"),
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
