"""Whole frames in place of crops are named by their faces, else by their shape."""

import dataclasses
import logging

import numpy as np
import pytest
import skimage.data
from PIL import Image

from rffr_jax.data.readers.folder import read_folder
from rffr_jax.errors import UserError
from rffr_jax.faces import frames_as_crops
from rffr_jax.faces.frames_as_crops import describe_frames_as_crops, face_share
from tests.faces.test_prepare import BrightSquares, picture


def folder_of(folder, *pictures):
    folder.mkdir()
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return read_folder(folder).examples


@pytest.fixture
def bright(monkeypatch):
    monkeypatch.setattr(frames_as_crops, "_load_detector", BrightSquares)


@pytest.mark.usefixtures("bright")
def test_small_faces_in_square_pictures_are_named_and_large_ones_in_wide_ones_are_not(tmp_path):
    small, large = picture((10, 10, 30), size=120), picture((10, 10, 70), size=120)
    (line,) = describe_frames_as_crops(folder_of(tmp_path / "small", small, small, large))
    assert "fills less than 40% of the side" in line
    assert "in 2 of 3 images in which a face was found (median 24%)" in line
    wide = np.pad(large, ((0, 0), (60, 60), (0, 0)))
    assert not describe_frames_as_crops(folder_of(tmp_path / "wide", wide, wide, wide))


def test_only_what_lies_in_the_middle_square_counts():
    detector = BrightSquares()
    pixels = np.full((100, 200, 3), 40, np.uint8)
    assert face_share(pixels, detector) is None
    pixels[20:81, 20:81] = 220
    assert face_share(pixels, detector) == pytest.approx((30 * 60) ** 0.5 / 100)


@pytest.mark.usefixtures("bright")
def test_shapes_tell_where_no_face_is_found(tmp_path):
    found = {}
    for name, size in (("frames", (360, 640)), ("crops", (120, 100)), ("phone", (160, 90))):
        pixels = np.full((*size, 3), 30, np.uint8)
        found[name] = describe_frames_as_crops(folder_of(tmp_path / name, pixels, pixels, pixels))
    assert not found["crops"]
    assert "3 of 3 images looked at are wide or tall as whole frames are" in found["frames"][0]
    assert "judged by their shape only" in found["frames"][0]
    assert "such as 90 x 160" in found["phone"][0]
    missing = [dataclasses.replace(e, path="synthetic:0") for e in read_folder(tmp_path).examples]
    assert not describe_frames_as_crops(missing)


def test_a_missing_face_detector_is_said(tmp_path, monkeypatch, caplog):
    def missing():
        raise UserError("RetinaFace runs on onnxruntime")

    monkeypatch.setattr(frames_as_crops, "_load_detector", missing)
    pixels = np.full((120, 120, 3), 30, np.uint8)
    with caplog.at_level(logging.INFO):
        assert not describe_frames_as_crops(folder_of(tmp_path / "a", pixels))
    assert "judged by their shape only: the face detector is missing" in caplog.text


def test_a_photograph_and_its_crop():
    detector = frames_as_crops._load_detector()
    photograph = skimage.data.astronaut()
    whole, crop = (face_share(p, detector) for p in (photograph, photograph[40:200, 145:305]))
    assert whole is not None
    assert crop is not None
    assert whole < 0.25 < frames_as_crops.LEAST_SHARE < 0.6 < crop
