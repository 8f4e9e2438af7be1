"""How photographs of a benchmark come to be files, and manipulations in a window of them."""

import dataclasses

import cv2
import numpy as np
import pytest

from rffr_jax.images.alignment import template_landmarks, transform_points
from rffr_jax.images.decode import decode_image
from rffr_jax.images.landmarks import to_five_landmarks
from rffr_jax.synthetic.landmarked_frame import LandmarkedFrame
from rffr_jax.synthetic.manipulations import METHODS
from rffr_jax.synthetic.person import procedural_landmarks
from rffr_jax.synthetic.photograph_capture import (
    CENTRE,
    PhotographCapture,
    capture_photograph,
    compress_as_video,
    crop_matrix,
    sample_capture,
)
from rffr_jax.synthetic.procedural_face import render_face
from rffr_jax.synthetic.window_manipulations import manipulate_window

STILL = PhotographCapture(0.0, 1.0, (0.0, 0.0), 0, 1.0, 0.0, 0.0, 95)


def drawn(identity, side=112, shift=30):
    """A drawn person, to the right in a frame that is wider than high."""
    image = np.rint(render_face(3, identity, side).image * 255).astype(np.uint8)
    wide = cv2.copyMakeBorder(image, 0, 0, shift, 5, cv2.BORDER_REFLECT)
    points = procedural_landmarks(3, identity) * side - 0.5 + [shift, 0]
    return LandmarkedFrame(wide, points.astype(np.float32), f"p{identity}")


def read(encoded):
    return decode_image(encoded, 64, "a").astype(int)


def test_a_crop_without_magnification_is_the_alignment_of_ffhq():
    five = np.array([[40, 50], [70, 52], [55, 70], [44, 85], [68, 86]], np.float32)
    exact = template_landmarks(64) * 3 + 7
    moved = transform_points(exact, crop_matrix(exact, STILL, 64, 1.0))
    np.testing.assert_allclose(moved, template_landmarks(64), atol=1e-4)
    eyes = [
        np.linalg.norm(np.diff(transform_points(five, crop_matrix(five, STILL, 64, m))[:2], axis=0))
        for m in (1.0, 1.4)
    ]
    assert eyes[1] / eyes[0] == pytest.approx(1.4)
    centre = (np.array([CENTRE], np.float32) * 64 - 0.5) * 3 + 7
    moved = transform_points(centre, crop_matrix(exact, STILL, 64, 1.4))
    np.testing.assert_allclose(moved, [[31.5, 31.5]], atol=1e-3)


def test_captures_turn_zoom_and_shift_a_face_about_its_place():
    exact = template_landmarks(100)
    rng = np.random.default_rng(0)
    captures = [sample_capture(rng) for _ in range(200)]
    moves = [
        np.abs(transform_points(exact, crop_matrix(exact, capture, 100, 1.0)) - exact).max()
        for capture in captures
    ]
    assert 1 < np.mean(moves) < max(moves) < 5
    for name, share in {"rate_factor": 0.5, "blur": 0.2, "noise": 0.2}.items():
        assert np.mean([getattr(one, name) > 0 for one in captures]) == pytest.approx(
            share, abs=0.1
        )
    assert np.mean([one.share < 1 for one in captures]) == pytest.approx(0.3, abs=0.1)
    assert {min(c.quality for c in captures), max(c.quality for c in captures)} <= set(
        range(40, 96)
    )


def test_every_step_of_a_capture_changes_the_file_and_the_same_gives_the_same_bytes():
    frame = drawn(30)
    matrix = crop_matrix(to_five_landmarks(frame.landmarks), STILL, 64, 1.4)
    changes = {"rate_factor": 34, "share": 0.5, "blur": 1.0, "noise": 5.0, "quality": 40}
    captures = [STILL, *(dataclasses.replace(STILL, **{k: v}) for k, v in changes.items())]
    files = [capture_photograph(frame.image, matrix, one, 64, "a") for one in captures]
    assert len(set(files)) == len(files)
    assert files == [capture_photograph(frame.image, matrix, one, 64, "a") for one in captures]
    plain, *others = map(read, files)
    assert plain.shape == (64, 64, 3)
    for name, other in zip(changes, others, strict=True):
        assert 0.3 < np.abs(other - plain).mean() < 12, name


def test_a_video_is_the_worse_the_higher_its_rate_factor():
    image = drawn(31).image[:111, :133]
    errors = [np.abs(compress_as_video(image, f).astype(int) - image).mean() for f in (1, 20, 40)]
    assert errors == sorted(errors)
    assert errors[0] < 4, errors
    assert errors[2] > errors[0] + 1, errors


@pytest.mark.parametrize("method", METHODS)
def test_a_window_changes_inside_the_mask_and_nowhere_else(method):
    frame, donor = drawn(30), drawn(31, side=150)
    made = manipulate_window(method, frame, donor, np.random.default_rng(4))
    assert made.image.shape == frame.image.shape
    np.testing.assert_array_equal(made.image[made.mask == 0], frame.image[made.mask == 0])
    assert np.abs(made.image.astype(int) - frame.image)[made.mask > 0.5].mean() > 1
    x, y = np.rint(to_five_landmarks(frame.landmarks)[3:].mean(0)).astype(int)
    assert made.mask[y, x] > 0.5


def test_a_window_may_reach_beyond_the_frame():
    frame = drawn(30, shift=0)
    cut = LandmarkedFrame(
        np.ascontiguousarray(frame.image[20:, :100]),
        frame.landmarks - np.array([0, 20], np.float32),
        frame.person,
    )
    whole, part = (
        manipulate_window("mouth_warp", one, drawn(31), np.random.default_rng(4))
        for one in (frame, cut)
    )
    np.testing.assert_array_equal(part.image, whole.image[20:, :100])
