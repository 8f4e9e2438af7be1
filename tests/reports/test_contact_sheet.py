import numpy as np
import pytest
from PIL import Image

from rffr_jax.reports.contact_sheet import contact_sheet, image_pixels, residual_pixels


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_pixels_of_images_and_residuals():
    image = np.array([[[-0.1, 0.0, 0.5], [0.2, 1.0, 1.3]]])
    np.testing.assert_array_equal(image_pixels(image), [[[0, 0, 128], [51, 255, 255]]])
    residual = np.array([[[-1.0, 0.0, 1.0], [-2.0, 0.2, -0.2]]], dtype=np.float32)
    np.testing.assert_array_equal(residual_pixels(residual), [[[0, 128, 255], [0, 153, 102]]])


@pytest.mark.parametrize(
    ("size", "factor"), [((32, 32), 6), ((64, 64), 3), ((64, 48), 3), ((224, 224), 1)]
)
def test_sheet_shows_every_pixel(tmp_path, size, factor):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, *size, 3), dtype=np.uint8)
    path = tmp_path / "sheet.png"
    contact_sheet(path, [list(row) for row in images], ["a", "b", "c"])
    sheet = pixels(path)
    height, width = factor * size[0], factor * size[1]
    for i, row in enumerate(images):
        for j, image in enumerate(row):
            top, left = 31 + i * (height + 8), 8 + j * (width + 8)
            shown = sheet[top : top + height, left : left + width]
            np.testing.assert_array_equal(shown, np.kron(image, np.ones((factor, factor, 1))))
    assert sheet.shape == (31 + 2 * (height + 8), 8 + 3 * (width + 8), 3)


def test_sheet_widens_its_columns_for_long_titles(tmp_path):
    black = np.zeros((64, 64, 3), np.uint8)
    contact_sheet(tmp_path / "short.png", [[black, black]], ["a", ""])
    contact_sheet(tmp_path / "long.png", [[black, black]], ["manipulated " * 5, "b"])
    short, long = pixels(tmp_path / "short.png"), pixels(tmp_path / "long.png")
    assert long.shape[1] > short.shape[1]
    assert (long == 0).all(axis=2).sum() >= 2 * 192 * 192
    # title ink: above the first column only, and never cut by the edge
    assert (short[:31, :200] < 128).any()
    assert (short[:31, 208:] == 255).all()
    assert (long[:, 0] == 255).all()
    assert (long[0] == 255).all()


def test_a_note_stands_below_the_images(tmp_path):
    black = np.zeros((64, 64, 3), np.uint8)
    note = "procedural faces and manipulations: this says nothing about real deepfakes"
    sheets = {}
    for name, text in (("plain", ""), ("noted", note)):
        contact_sheet(tmp_path / f"{name}.png", [[black]], ["a"], text)
        sheets[name] = pixels(tmp_path / f"{name}.png")
    height, width, _ = sheets["plain"].shape
    np.testing.assert_array_equal(sheets["noted"][:height], sheets["plain"])
    below = sheets["noted"][height:] < 128
    assert below.any()
    assert not below[:, : 8 // 2].any()
    assert not below[:, width - 8 // 2 :].any()  # broken into lines that fit


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[np.zeros((4, 4, 3), np.uint8)]],
        [[np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)]],
        [[np.zeros((4, 4, 3)), np.zeros((4, 4, 3))]],
        [[np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 1), np.uint8)]],
    ],
)
def test_sheet_refuses_what_does_not_fit(tmp_path, rows):
    with pytest.raises(ValueError, match="need"):
        contact_sheet(tmp_path / "sheet.png", rows, ["a", "b"])


def test_rows_have_titles_to_their_left(tmp_path):
    grey = np.full((64, 64, 3), 128, np.uint8)
    rows = [[grey, grey], [grey, grey]]
    contact_sheet(tmp_path / "plain.png", rows, ["a", "b"])
    contact_sheet(tmp_path / "titled.png", rows, ["a", "b"], row_titles=["original", ""])
    plain, titled = pixels(tmp_path / "plain.png"), pixels(tmp_path / "titled.png")
    margin = titled.shape[1] - plain.shape[1]
    np.testing.assert_array_equal(titled[:, margin:], plain)
    ink = np.any(titled[:, :margin] < 100, axis=(1, 2))
    assert ink[31 : 31 + 192].any()
    assert not ink[31 + 192 :].any()
    with pytest.raises(ValueError, match="need 2 titles of rows"):
        contact_sheet(tmp_path / "sheet.png", rows, ["a", "b"], row_titles=["one"])
