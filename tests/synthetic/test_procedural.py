import pickle

import cv2
import numpy as np
import pytest

from rffr_jax.images.alignment import (
    align,
    estimate_similarity,
    face_from_aligned_crop,
    similarity_scale,
    template_landmarks,
    transform_points,
    warp,
)
from rffr_jax.synthetic.procedural_face import render_face


def test_similarity_is_recovered_from_points_and_agrees_with_opencv():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (5, 2)).astype(np.float32)
    true = np.array([[0.9, -0.3, 4.0], [0.3, 0.9, -7.0]])
    found = estimate_similarity(points, transform_points(points, true))
    np.testing.assert_allclose(found, true, atol=1e-4)
    assert similarity_scale(found) == pytest.approx(np.sqrt(0.9), abs=1e-5)

    noisy = transform_points(points, true) + rng.normal(0, 2, (5, 2)).astype(np.float32)
    ours = estimate_similarity(points, noisy)
    error = ((transform_points(points, ours) - noisy) ** 2).sum()
    for change in rng.normal(0, 0.01, (20, 4)):
        a, b, x, y = np.array([ours[0, 0], ours[1, 0], ours[0, 2], ours[1, 2]]) + change
        other = np.array([[a, -b, x], [b, a, y]])
        assert ((transform_points(points, other) - noisy) ** 2).sum() >= error - 1e-3


def test_similarity_does_not_reflect():
    points = template_landmarks(100)
    mirrored = points * [-1, 1] + [99, 0]
    matrix = estimate_similarity(points, mirrored.astype(np.float32))
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("shrink", [1, 2, 3, 5])
def test_warp_that_shrinks_averages_pixels(shrink):
    image = np.random.default_rng(0).random((60, 60, 3), np.float32)
    matrix = np.array(
        [[1 / shrink, 0, (1 / shrink - 1) / 2], [0, 1 / shrink, (1 / shrink - 1) / 2]]
    )
    small = warp(image, matrix, 60 // shrink)
    side = 60 // shrink
    means = image.reshape(side, shrink, side, shrink, 3).mean((1, 3))
    np.testing.assert_allclose(small, means, atol=1e-3)


def test_align_puts_landmarks_on_the_template():
    face = render_face(0, 3, 128)
    turned = np.array([[0.8, -0.2, 30.0], [0.2, 0.8, 5.0]])
    photograph = cv2.warpAffine(face.image, turned, (160, 150))
    back = align(photograph, transform_points(face.landmarks, turned), 128)
    np.testing.assert_allclose(back.landmarks, template_landmarks(128), atol=4)
    straight = align(face.image, face.landmarks, 128).image
    assert np.abs(cv2.blur(back.image - straight, (5, 5)))[40:100, 40:100].mean() < 0.02


def test_scale_follows_the_landmarks():
    face = face_from_aligned_crop(np.zeros((100, 100, 3), np.float32))
    assert face.scale == pytest.approx(100)
    np.testing.assert_allclose(face.from_template(), [[1, 0, 0], [0, 1, 0]], atol=1e-9)


@pytest.mark.parametrize("size", [48, 64, 100])
def test_render_is_an_image_with_landmarks_inside(size):
    face = render_face(0, 1, size)
    assert face.image.shape == (size, size, 3)
    assert face.image.min() >= 0
    assert face.image.max() <= 1
    assert np.abs(face.landmarks - template_landmarks(size)).max() < 0.06 * size


def test_render_is_a_function_of_seed_and_identity_alone():
    np.random.seed(0)
    first = render_face(5, 7, 64)
    np.random.seed(1)
    render_face(5, 8, 64)
    again = render_face(5, 7, 64)
    np.testing.assert_array_equal(first.image, again.image)
    for other in (render_face(5, 8, 64), render_face(6, 7, 64)):
        assert np.abs(other.image - first.image).mean() > 0.02
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).image, first.image)


def test_a_person_is_the_same_at_every_size():
    for identity in range(6):
        small, large = render_face(2, identity, 64), render_face(2, identity, 192)
        reduced = cv2.resize(large.image, (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(cv2.blur(reduced - small.image, (3, 3))).mean() < 0.03


def test_skin_is_textured_and_eyes_are_darker():
    for identity in range(20):
        face = render_face(3, identity, 128)
        grey = face.image.mean(-1)
        cheek = grey[75:90, 42:52]
        fine = cheek - cv2.GaussianBlur(cheek, (0, 0), 2)
        assert fine.std() > 0.003
    mean = np.mean([render_face(3, i, 64).image.mean(-1) for i in range(60)], 0)
    eye = template_landmarks(64)[0].astype(int)
    cheek = mean[40:44, 20:24].mean()
    assert mean[eye[1], eye[0]] < cheek - 0.05
