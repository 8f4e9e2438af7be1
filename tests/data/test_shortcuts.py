"""What the files of a data set tell of its labels."""

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data import shortcuts
from rffr_jax.data.shortcuts import cross_fitted_auc, shortcut_warnings
from rffr_jax.examples import Example
from rffr_jax.images.file_header import FileHeader


def written(folder, label, number, method="swap", *, ending="png", size=(20, 20), **save):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = folder / f"{method if label else 'real'}{number}.{ending}"
    Image.fromarray(pixels).save(file, **save)
    name = file.name
    return Example(name, str(file), label, "d", method if label else "real", name, 0, name)


@pytest.mark.parametrize(
    ("reals", "fakes", "named"),
    [
        ({"ending": "jpg"}, {}, ["file ending (AUC 100)", "file format (AUC 100)"]),
        ({"size": (20, 24)}, {}, ["size (AUC 100)"]),
        (
            {"ending": "jpg", "quality": 75},
            {"ending": "jpg", "quality": 90},
            ["JPEG quantisation tables (AUC 100)"],
        ),
        ({"ending": "jpg"}, {"ending": "jpg"}, []),
    ],
)
def test_what_separates_is_named(tmp_path, reals, fakes, named):
    examples = [written(tmp_path, n % 2, n, **(fakes if n % 2 else reals)) for n in range(40)]
    found = shortcut_warnings(examples)
    assert len(found) == bool(named)
    for warning in found:
        assert warning.startswith(f"dataset 'd': reals differ from fakes in {', '.join(named)}; a")
        assert "corruptions.format of the job robustness" in warning


def test_one_method_that_was_saved_otherwise_is_named(tmp_path):
    endings = {"real": "png", "swap": "png", "warp": "jpg"}
    examples = [
        written(tmp_path, int(kind != "real"), n, kind, ending=ending)
        for kind, ending in endings.items()
        for n in range(12 if kind == "warp" else 40)
    ]
    (warning,) = shortcut_warnings(examples)
    assert "reals differ from fakes of 'warp' in file ending (AUC 100)" in warning


def test_sizes_that_never_come_again_tell_nothing_and_large_ones_do():
    labels = [n % 2 for n in range(200)]
    sizes = [(100 + n, 100) for n in range(200)]
    assert cross_fitted_auc(sizes, labels) == 0.5
    assert cross_fitted_auc([(n % 2, n // 20) for n in range(200)], labels) == 1.0
    assert cross_fitted_auc([n % 2 for n in range(18)], labels[:18]) == 0.5  # nine of a class
    noise = np.random.default_rng(0).integers(3, size=200).tolist()
    assert 0.4 < cross_fitted_auc(noise, labels) < 0.6


def test_few_headers_are_read_and_what_is_no_image_is_passed_over(tmp_path, monkeypatch):
    opened = []
    real_open = Image.open
    monkeypatch.setattr(Image, "open", lambda path: (opened.append(path), real_open(path))[1])
    monkeypatch.setattr(shortcuts, "MOST_FILES", 20)
    examples = [written(tmp_path, n % 2, n, ending="jpg" if n % 2 else "png") for n in range(80)]
    assert len(shortcut_warnings(examples)) == 1
    assert len(opened) == 40
    drawn = [Example("x", f"synthetic:{n}", n % 2, "s", "m", "v", 0, "v") for n in range(40)]
    (tmp_path / "text.png").write_text("no image")
    broken = Example("t", str(tmp_path / "text.png"), 0, "s", "real", "t", 0, "t")
    assert shortcut_warnings([*drawn, broken]) == []


def prepared(label, number, original, frame=0):
    method = "swap" if label else "real"
    video = f"{method}{number}"
    name = f"{video}/{frame:06d}"
    return Example(name, f"D#train/{name}", label, "d", method, video, frame, video, "", original)


def test_prepared_crops_are_judged_by_their_originals():
    text = FileHeader(".mp4", "h264", (640, 480)).to_text()
    other = FileHeader(".avi", "mpeg4", (640, 480)).to_text()
    alike = [prepared(n % 2, n, text) for n in range(40)]
    assert shortcut_warnings(alike) == []
    (warning,) = shortcut_warnings([prepared(n % 2, n, (text, other)[n % 2]) for n in range(40)])
    assert "reals differ from fakes in file ending (AUC 100), file format (AUC 100); a" in warning
    tables = [FileHeader(".jpg", "JPEG", (n, n), f"{n % 2:016x}").to_text() for n in range(40)]
    (warning,) = shortcut_warnings([prepared(n % 2, n, tables[n]) for n in range(40)])
    assert "fakes in JPEG quantisation tables (AUC 100); a" in warning


def test_frames_of_a_video_do_not_tell_each_other():
    """Every video has a size of its own, which says nothing of the next video."""
    examples = [
        prepared(n % 2, n, FileHeader(".mp4", "h264", (100 + n, 90)).to_text(), frame)
        for n in range(40)
        for frame in range(8)
    ]
    assert shortcut_warnings(examples) == []


@pytest.mark.parametrize(
    "header",
    [
        FileHeader(".jpg", "JPEG", (640, 480), "00ff"),
        FileHeader(".mp4", "h264", (640, 480)),
        FileHeader(".", "PNG", (1, 2)),
    ],
)
def test_headers_as_text(header):
    assert FileHeader.from_text(header.to_text()) == header
    assert FileHeader.from_text("of another kind") is None
