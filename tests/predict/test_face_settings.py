"""How faces are cut out: as the training faces were, or as the outputs say."""

import csv
import json

import pytest
from PIL import Image

from rffr_jax.errors import UserError
from rffr_jax.faces import detectors, prepare
from rffr_jax.faces.crop import CropSettings
from rffr_jax.predict import face_finding
from rffr_jax.predict import face_settings as module
from rffr_jax.predict.face_settings import CROP_NOT_KNOWN, FaceSettings, face_settings
from rffr_jax.predict.records import as_sentence
from tests import jobs
from tests.faces.test_prepare import BrightSquares, picture, settings


@pytest.fixture
def bright(monkeypatch):
    """Bright rectangles are the faces."""
    for room in (detectors, face_finding, module, prepare):
        monkeypatch.setattr(room, "load_detector", lambda *_: BrightSquares())


@pytest.fixture
def recorded(bright):
    return settings(crop=CropSettings(scale=1.6), smallest_face=41).to_json()


def test_preparation_of_the_training_faces_is_used(recorded):
    found = face_settings([recorded | {"compression": "c23"}], 224, frames=3)
    assert (found.crop, found.smallest_face) == (CropSettings(scale=1.6), 41)
    assert (found.image_format, found.frames) == ("png", 3)
    assert (found.preparation_known, found.note) == (True, "")
    other = recorded | {"weights_sha256": "1" * 64}
    with pytest.raises(UserError, match="with other weights"):
        face_settings([other], 224)
    given = face_settings([other], 224, faces="given")
    assert (given.faces, given.note) == ("given", "")
    with pytest.raises(UserError, match=r"YuNet.*--config.face_weights=FILE"):
        face_settings([recorded | {"detector": "yunet"}], 224)


@pytest.mark.parametrize(("image_size", "smallest"), [(224, 86), (64, 30)])
def test_without_a_preparation_no_face_is_enlarged_by_more_than_two(bright, image_size, smallest):
    found = face_settings([], image_size)
    assert (found.smallest_face, found.preparation_known) == (smallest, False)
    assert found.note == CROP_NOT_KNOWN


def test_a_preparation_is_named_by_its_folder_or_file(tmp_path, recorded):
    for version, scale in (("1.9.0", 1.5), ("1.10.0", 1.6)):
        (tmp_path / "mine" / version).mkdir(parents=True)
        record = json.dumps(recorded | {"scale": scale, "compression": "c23"})
        (tmp_path / "mine" / version / "preparation.json").write_text(record)
    folder = tmp_path / "mine"
    for named in (folder, folder / "1.10.0", folder / "1.10.0/preparation.json"):
        assert face_settings([], 224, named) == face_settings([recorded], 224)
    assert face_settings([], 224, folder / "1.9.0").crop.scale == 1.5
    assert face_settings([recorded], 224, folder).crop.scale == 1.6
    with pytest.raises(UserError, match=r"not how .* were prepared \(scale: 1.6, 1.5\)"):
        face_settings([recorded], 224, folder / "1.9.0")
    with pytest.raises(UserError, match="leave one of them out"):
        face_settings([], 224, folder, faces="given")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        ("text", "Expecting value"),
        ("[]", "list indices"),
        ("{}", "it has no detector"),
        ({"scale": "1.3"}, "scale is '1.3'"),
        ({"size": True}, "size is True"),
        ({"scale": 90}, "crop scale 90"),
        ({"smallest_face": 0}, "--smallest-face 0"),
        ({"image_format": "gif"}, "--image-format 'gif'"),
        ({"detector": "mine"}, "'mine' is not known"),
    ],
)
def test_what_is_no_preparation_is_refused(tmp_path, recorded, content, reason):
    if content is not None:
        text = json.dumps(recorded | content) if isinstance(content, dict) else content
        (tmp_path / "preparation.json").write_text(text)
    with pytest.raises(UserError) as caught:
        face_settings([], 224, tmp_path)
    assert str(caught.value).startswith(f"--config.preparation={tmp_path} is no record")
    assert reason in str(caught.value)
    assert "name the folder" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"faces": "some"}, {"frames": 0}, {"most_faces": 0}])
def test_settings_that_are_not_possible(wrong):
    with pytest.raises(UserError):
        FaceSettings(**wrong)


# ---- the job


def test_a_crop_that_is_not_known_is_said_in_every_output(
    tmp_path, detector, bright, recorded, capsys
):
    Image.fromarray(picture((10, 10, 20))).save(tmp_path / "small.png")
    Image.fromarray(picture((10, 10, 40), (70, 70, 20))).save(tmp_path / "two.png")
    inputs = f"{tmp_path}/small.png,{tmp_path}/two.png"
    flags = (f"detector={detector}", f"inputs={inputs}", "darkest=0", "least_sharpness=0")
    out = tmp_path / "out"
    assert jobs.start("predict", out, *flags) == 0
    said = json.loads((out / "predictions.json").read_text())
    assert said["note"].endswith(CROP_NOT_KNOWN)
    told = capsys.readouterr()
    assert CROP_NOT_KNOWN in told.out
    html = (out / "report.html").read_text()
    assert as_sentence(CROP_NOT_KNOWN) in html
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(CROP_NOT_KNOWN in row["note"] for row in rows)

    small, two = said["files"]
    reason = "too small: 19 pixels, at least 30 are needed for crops of 48"
    assert (small["status"], small["reason"]) == ("unknown", reason)
    (alone,), (large, beside) = small["faces"], two["faces"]
    assert large["status"] in ("real", "fake")
    for face in (alone, beside):
        assert (face["status"], face["score"], face["reason"]) == ("unknown", None, reason)
        assert [seen["reason"] for seen in face["not_judged"]] == [reason]
        with Image.open(out / face["picture"]) as crop:
            assert crop.size == (jobs.SIZE, jobs.SIZE)
    assert beside["box"] == [70, 70, 89, 89]
    assert html.count("data:image/jpeg") == 2
    assert html.count(f"unknown: {reason}") >= 2
    assert [row["face_reason"] for row in rows] == [reason, "", reason]

    (tmp_path / "preparation.json").write_text(json.dumps(recorded | {"smallest_face": 10}))
    named = f"preparation={tmp_path}/preparation.json"
    assert jobs.start("predict", tmp_path / "known", *flags, named) == 0
    said = json.loads((tmp_path / "known/predictions.json").read_text())
    assert "not known" not in said["note"]
    assert said["preprocessing"]["faces"]["crop"]["scale"] == 1.6
    assert said["counts"]["unknown"] == 0
