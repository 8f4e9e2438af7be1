"""report.html of the job `predict`."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from rffr_jax.predict import face_finding, face_settings, report
from tests import jobs
from tests.faces.movies import write_movie
from tests.faces.test_prepare import BrightSquares, picture


def predicted(workdir, detector, inputs, *flags):
    said = jobs.predict(workdir, detector, inputs, "darkest=0", "least_sharpness=0", *flags)
    return said, (workdir / "report.html").read_text(encoding="utf-8")


def needs_nothing_else(html):
    return not re.findall(r'(?:src|href)="(?!data:|#)', html) and "<script" not in html


@pytest.fixture
def folder(tmp_path, faces):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("rows0.png", "rows1.png"):
        shutil.copy(faces / "test" / name, folder)
    shutil.copy(faces / "test/rows2.png", folder / "<b>bold.png")
    (folder / "text.jpg").write_text("no picture")
    for name in ("a.txt", "b.txt", "LICENSE"):
        (folder / name).write_text("no picture")
    return folder


def test_report_shows_every_verdict_with_its_evidence(tmp_path, detector, folder):
    said, html = predicted(tmp_path / "out", detector, folder, "faces=given")
    assert needs_nothing_else(html)
    scored = sorted((f for f in said["files"] if f["score"]), key=lambda f: -f["score"])
    assert re.findall(r"</strong>: score (\d\.\d{3}), (?:not )?above the threshold<", html) == [
        f"{file['score']:.3f}" for file in scored
    ]
    assert html.count('src="data:image/') == 3
    assert "&lt;b&gt;bold.png" in html
    assert "<b>bold" not in html
    (text,) = [file for file in said["files"] if file["status"] == "unknown"]
    assert text["reason"] in html
    assert said["left_out"] == {".txt": 2, "": 1}
    assert "left out: 2 .txt, 1 without an ending." in html
    assert said["detector"]["digest"] in html
    assert "--config.faces=given" in html
    assert "does not mean authentic" in html
    assert "not what its score rests on" in html


def test_report_begins_with_a_table_of_all_files(tmp_path, detector, folder):
    said, html = predicted(tmp_path / "out", detector, folder, "faces=given")
    overview = html[html.index('<section id="section1">') : html.index('<section id="section2">')]
    assert overview.count("<tr>") == 1 + len(said["files"])
    for file in said["files"]:
        assert f"<td>{file['sha256']}</td>" in overview
        assert f"<td>{file['examined']}</td>" in overview
    assert "Face 1: score" in html
    assert "Face 0" not in html
    assert [face["face"] for face in said["files"][0]["faces"]] == [1]


def test_report_says_how_many_reals_the_threshold_rests_on():
    rests = {"value": 0.9, "from": "validation data", "n_real": 636, "n_fake": 600}
    default = {"value": 0.5, "from": "default", "n_real": None, "n_fake": None}
    assert report.threshold_origin({"image": rests, "video": default}) == (
        "images: 0.900, validation data of 636 real and 600 fake examples; videos: 0.500, default"
    )


def test_note_begins_with_a_capital(tmp_path, detector, folder, monkeypatch):
    monkeypatch.setattr("rffr_jax.data.origins.PROCEDURAL", "faces")
    _, html = predicted(tmp_path / "out", detector, folder / "rows0.png", "faces=given")
    assert '<p class="note">This detector was trained on procedural faces' in html


def test_a_long_report_is_bounded_and_says_so(tmp_path, detector, folder, monkeypatch):
    monkeypatch.setattr(report, "MOST_FACES", 2)
    said, html = predicted(tmp_path / "out", detector, folder, "faces=given")
    assert html.count('src="data:image/') == 2
    assert "left out here: 1." in html
    lowest = min((f for f in said["files"] if f["score"] is not None), key=lambda f: f["score"])
    assert f"score {lowest['score']:.3f}" not in html


def test_what_was_done_to_the_pixels_is_shown(tmp_path, detector):
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)
    _, html = predicted(tmp_path / "out", detector, tmp_path / "turned.png", "faces=given")
    assert "image, png, 64 x 64, turned by EXIF orientation 3" in html
    assert "float32" in html


def test_a_video_has_a_timeline_whose_peaks_show_the_frame(tmp_path, detector, monkeypatch):
    for room in (face_finding, face_settings):
        monkeypatch.setattr(room, "load_detector", lambda *_: BrightSquares())
    rng = np.random.default_rng(2)
    frames = [
        picture((8 + i, 10, 34), (90, 60 + i, 50), size=160)
        * (0.5 + 0.5 * rng.random((160, 160, 1)))
        for i in range(24)
    ]
    path = write_movie(tmp_path / "film.mp4", [frame.astype(np.uint8) for frame in frames])
    said, html = predicted(tmp_path / "out", detector, path, "frames_per_video=12")
    assert needs_nothing_else(html)
    peaks = [peak for face in said["files"][0]["faces"] for peak in face["peaks"]]
    assert peaks
    for face in said["files"][0]["faces"]:
        scores = {frame["frame"]: frame["score"] for frame in face["frames"]}
        assert face["peaks"][0]["frame"] == face["peak"]["frame"]
        for peak in face["peaks"]:
            assert scores[peak["frame"]] == peak["score"]
            with Image.open(tmp_path / "out" / peak["picture"]) as crop:
                assert crop.size == (jobs.SIZE, jobs.SIZE)
    assert html.count('<figure id="file0-peak') == len(peaks)
    assert "12 of 24 frames looked at" in html
