"""Images from memory: what is taken, and what is refused in one line."""

import io

import numpy as np
import pytest
from PIL import Image

from rffr_jax.errors import UserError
from rffr_jax.images.pixels import rgb_pixels


def test_arrays_and_pillow_images_give_their_pixels():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(rgb_pixels(image), image)
    np.testing.assert_array_equal(rgb_pixels(Image.fromarray(image)), image)
    grey = Image.fromarray(image[..., 0])
    np.testing.assert_array_equal(rgb_pixels(grey), np.repeat(image[..., :1], 3, axis=2))


def test_a_pillow_image_is_turned_upright():
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    turned = Image.fromarray(image)
    turned.getexif()[0x0112] = 6  # shown after a quarter turn clockwise
    np.testing.assert_array_equal(rgb_pixels(turned), np.rot90(image, -1))


def test_a_truncated_file_that_pillow_opened_is_refused():
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)).save(
        stream, "JPEG"
    )
    cut = Image.open(io.BytesIO(stream.getvalue()[:1500]))
    with pytest.raises(UserError, match=r"face: damaged or truncated image .*; give a whole image"):
        rgb_pixels(cut, "face")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, "face is None, as cv2.imread returns"),
        ("photo.jpg", "face is the path 'photo.jpg', not an image"),
        (np.zeros((20, 20, 3)), r"float64 of shape \(20, 20, 3\); .* by \(255 \* image\)"),
        (np.zeros((20, 20, 3), np.int64), "int64 of shape"),
        (np.zeros((20, 20), np.uint8), r"uint8 of shape \(20, 20\); give uint8 RGB"),
        (np.zeros((20, 20, 4), np.uint8), r"uint8 of shape \(20, 20, 4\)"),
        (np.zeros((1, 1, 3), np.uint8), "face is 1 x 1 pixels; give at least 16"),
        (Image.new("RGB", (40, 3)), "face is 40 x 3 pixels"),
        (Image.new("F", (40, 40)), "Pillow's kind 'F'.*converted with"),
        ([[1, 2], [3]], "face is no image"),
        (object(), "face is object of shape"),
    ],
)
def test_other_things_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        rgb_pixels(wrong, "face")
