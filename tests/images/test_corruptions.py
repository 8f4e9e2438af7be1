"""Corruptions of images: what each does, and that nothing but the name moves it."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from rffr_jax.data.selection import select_examples
from rffr_jax.errors import UserError
from rffr_jax.images.corruptions import (
    CORRUPTIONS,
    CorruptedDataset,
    blur,
    check_level,
    jpeg,
    noise,
    reformat,
    resize,
)
from rffr_jax.synthetic.dataset import SyntheticDataset


@pytest.fixture
def image():
    coarse = np.random.default_rng(0).integers(60, 190, (6, 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC))


def distance(a, b):
    return np.abs(a.astype(float) - b).mean()


def test_jpeg_is_pillows_file_read_again(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=40)
    np.testing.assert_array_equal(jpeg(image, 40, "a"), np.array(Image.open(file)))
    losses = [distance(jpeg(image, quality, "a"), image) for quality in (95, 50, 10)]
    assert losses == sorted(losses)


def test_blur_is_a_gaussian(image):
    planes = [
        ndimage.gaussian_filter(image[..., c].astype(float), 1.5, mode="mirror") for c in range(3)
    ]
    assert np.abs(blur(image, 1.5, "a") - np.stack(planes, -1)).max() < 2


def test_resize_loses_what_is_finer_than_its_pixels(image):
    stripes = np.repeat((128 + 40 * (-1) ** np.arange(48))[None, :, None], 48, 0)
    stripes = np.repeat(stripes, 3, 2).astype(np.uint8)
    assert np.ptp(resize(stripes, 0.25, "a")[:, 4:-4]) <= 6
    assert distance(resize(image, 0.5, "a"), image) < 3
    np.testing.assert_array_equal(resize(image, 1.0, "a"), image)


def test_noise_has_its_spread_and_belongs_to_a_name():
    grey = np.full((64, 64, 3), 128, np.uint8)
    drawn = noise(grey, 10, "a").astype(float) - 128
    assert drawn.std() == pytest.approx(10, rel=0.05)
    assert abs(drawn.mean()) < 0.5
    np.testing.assert_array_equal(noise(grey, 10, "a"), noise(grey, 10, "a"))
    other = noise(grey, 10, "b").astype(float) - 128
    assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 0.05
    assert noise(grey, 10, "caf\udce9").shape == grey.shape


def test_one_format_hides_how_an_image_was_saved(image):
    """An image and its JPEG differ less after the same pipeline, above all in fine detail."""
    grain = np.random.default_rng(1).normal(0, 6, image.shape)
    clean = (image + grain).clip(0, 255).astype(np.uint8)
    saved = jpeg(clean, 75, "a")
    alike, saved_alike = (reformat(pixels, 75, "a") for pixels in (clean, saved))
    assert distance(alike, saved_alike) < 0.6 * distance(clean, saved)

    def finest(pixels):
        return np.abs(np.diff(pixels.astype(float), 2, axis=0)).mean()

    before = finest(clean) / finest(saved)
    after = finest(alike) / finest(saved_alike)
    assert abs(after - 1) < 0.3 * abs(before - 1)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corrupted_dataset_is_its_dataset_corrupted_in_any_order(kind):
    data = SyntheticDataset(0, "test")
    level = {"jpeg": 30, "blur": 1.0, "resize": 0.5, "noise": 8.0, "format": 75}[kind]
    whole, part = (
        CorruptedDataset(data, kind, level),
        CorruptedDataset(select_examples(data, [7, 300]), kind, level),
    )
    assert whole.examples == data.examples
    found = whole.load(300, 32)
    assert found.shape == (32, 32, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(part.load(1, 32), found)
    assert (found != data.load(300, 32)).any()


@pytest.mark.parametrize(
    ("kind", "level", "message"),
    [
        ("rain", 1, "'rain' is not known; give jpeg, blur, resize, noise"),
        ("jpeg", 0, "corruptions.jpeg: 0; give a level from 1 to 100"),
        ("resize", 2.0, "corruptions.resize: 2.0; give a level from 0.01 to 1"),
        ("noise", "x", "corruptions.noise: x; give a level"),
    ],
)
def test_levels_out_of_range_are_a_users_mistake(kind, level, message):
    with pytest.raises(UserError, match=message):
        check_level(kind, level)
