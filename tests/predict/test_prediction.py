"""From a photograph or a video to a verdict in Python, with evidence, as by the job `predict`."""

import dataclasses

import jaxtyping
import numpy as np
import pytest
import skimage.data
from PIL import Image

import rffr_jax
from rffr_jax.errors import UserError
from rffr_jax.predict import detector as module
from rffr_jax.predict import face_finding
from tests import jobs
from tests.faces.movies import write_movie
from tests.faces.test_prepare import BrightSquares, walk
from tests.jobs import GIVEN, predict

PICTURES = ("evidence", "picture", "peaks", "annotated")


@pytest.fixture(scope="module")
def loaded(detector):
    return rffr_jax.load_detector(detector, batch_size=4)


@pytest.fixture
def any_quality(monkeypatch):
    """Drawn test pictures are blurred: all are judged."""
    settings = module.face_settings
    monkeypatch.setattr(
        module,
        "face_settings",
        lambda *given, **named: dataclasses.replace(
            settings(*given, **named), smallest_face=16, darkest=0.0, least_sharpness=0.0
        ),
    )


def without_pictures(record):
    """A record of predictions.json; floats are scores of programs for other batch sizes."""
    kept = {name: value for name, value in record.items() if name not in PICTURES}
    if "faces" in kept:
        kept["faces"] = [without_pictures(face) for face in kept["faces"]]
    return {
        name: pytest.approx(value, abs=2e-6) if isinstance(value, float) else value
        for name, value in kept.items()
        if name != "frames"
    }


def test_a_photograph_gets_the_record_of_the_job(tmp_path, loaded, detector, faces, any_quality):
    path = faces / "test/rows0.png"
    (expected,) = predict(tmp_path, detector, path, *GIVEN)["files"]
    verdict = loaded.predict(path, faces="given")
    assert verdict.record | {"path": expected["path"]} == without_pictures(expected) | {
        name: verdict.record[name] for name in ("faces", "annotated", "examined")
    }
    (face,) = verdict.faces
    assert without_pictures(face.record) == without_pictures(expected["faces"][0])
    assert (verdict.status, verdict.score) == (face.status, face.score)
    assert verdict.threshold["value"] == loaded.threshold
    assert str(verdict) == f"{verdict.status} {verdict.score:.3f}"
    pixels = np.asarray(Image.open(path))
    np.testing.assert_array_equal(face.crops, pixels[None])
    shown = loaded.explain(pixels)
    np.testing.assert_allclose(face.explanation.residual, shown.residual, atol=1e-5)
    with Image.open(tmp_path / expected["faces"][0]["evidence"]) as picture:
        assert face.picture().width == picture.width
    for same in (pixels, Image.open(path), str(path)):
        assert loaded.predict(same, faces="given").score == pytest.approx(face.score, abs=2e-6)


def test_a_face_is_found_in_a_photograph(loaded, any_quality):
    verdict = loaded.predict(skimage.data.astronaut())
    assert verdict.status in ("real", "fake")
    left, top, right, bottom = verdict.faces[0].box
    assert 150 < left < right < 300
    assert 40 < top < bottom < 220
    assert "not known" in verdict.note  # this detector records no crop
    nothing = loaded.predict(np.full((200, 200, 3), 128, np.uint8))
    assert (nothing.status, nothing.score) == ("unknown", None)
    assert nothing.reason == "no face of 24 pixels or more"
    assert nothing.faces == []
    assert str(nothing) == "unknown: no face of 24 pixels or more"


def test_a_video_has_crops_of_its_frames(tmp_path, loaded, any_quality, monkeypatch):
    monkeypatch.setattr(face_finding, "load_detector", lambda *_: BrightSquares())
    path = write_movie(tmp_path / "walk.mp4", walk(12))
    verdict = loaded.predict(path, frames=3, threshold=0.0)
    (face,) = verdict.faces
    assert face.crops.shape == (3, jobs.SIZE, jobs.SIZE, 3)
    scores = loaded.score(face.crops)
    assert face.score == pytest.approx(scores.mean(), abs=2e-6)
    assert face.explanation.score == pytest.approx(scores.max(), abs=2e-6)
    assert (verdict.status, verdict.threshold["from"]) == ("fake", "config")


def test_a_face_that_cannot_be_judged_has_a_reason_and_its_crop(loaded):
    dark = np.random.default_rng(0).integers(0, 9, (60, 60, 3), np.uint8)
    verdict = loaded.predict(dark, faces="given")
    (face,) = verdict.faces
    assert (verdict.status, face.status, face.score) == ("unknown", "unknown", None)
    assert face.reason.startswith("too dark")
    assert face.picture().size == (jobs.SIZE, jobs.SIZE)


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (None, {}, "image is None, as cv2.imread returns"),
        ("nowhere.jpg", {}, "nowhere.jpg does not exist"),
        (".", {}, "is a folder; name one file"),
        (["a.jpg"], {}, r"takes one source; write \[detector.predict\(one\)"),
        (np.zeros((40, 40, 3)), {}, r"by \(255 \* image\)"),
        (np.zeros((1, 1, 3), np.uint8), {}, "1 x 1 pixels; give at least 16"),
        (np.zeros((40, 40, 3), np.uint8), {"threshold": 2.0}, r"must lie in \[0, 1\]"),
        (np.zeros((40, 40, 3), np.uint8), {"faces": "some"}, "choose find or given"),
        (np.zeros((40, 40, 3), np.uint8), {"frames": 0}, "must be at least 1"),
    ],
)
def test_mistakes_are_one_line(loaded, source, options, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for a user
    with pytest.raises(UserError, match=said) as error:
        loaded.predict(source, **options)
    assert "\n" not in str(error.value)
