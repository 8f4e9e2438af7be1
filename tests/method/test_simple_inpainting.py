"""Inpainting without a network, against loops, scikit-learn and leaving images out for real."""

import cv2
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.simple_inpainting import (
    PENALTIES,
    RidgeInpainter,
    block_areas,
    inpaint_telea,
    mean_face,
)

PATCH, BLOCKS = 2, BlockGrid(7, 2)  # 14 pixels; two blocks of three patches a side
SIZE = 14


def smooth_images(seed, count):
    """Images of few degrees of freedom, so that pixels tell each other."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).normal(size=(5, 4, 4, 3))
    coarse = np.tensordot(rng.normal(size=(count, 5)), basis, 1)
    images = np.stack(
        [cv2.resize(one, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for one in coarse]
    )
    noisy = 127 + 25 * images + rng.normal(0, 2, images.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def test_areas_are_the_hidden_patches():
    covered = np.zeros((SIZE, SIZE), int)
    for number, area in enumerate(block_areas(BLOCKS, PATCH)):
        covered[area] += 1
        patches = np.zeros((7, 7), bool)
        patches.flat[BLOCKS.hidden[number]] = True
        hidden = patches.repeat(PATCH, 0).repeat(PATCH, 1)
        only = np.zeros((SIZE, SIZE), bool)
        only[area] = True
        np.testing.assert_array_equal(only, hidden)
    np.testing.assert_array_equal(covered == 1, BLOCKS.covered(PATCH))


def test_telea_fills_each_block_from_the_rest():
    images = smooth_images(0, 2)
    inpainted = inpaint_telea(images, BLOCKS, PATCH)
    for image, result in zip(images, inpainted, strict=True):
        expected = image.copy()
        for area in block_areas(BLOCKS, PATCH):
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[area] = 1
            known = image.copy()
            known[area] = image[mask == 0].mean(axis=0)
            expected[area] = cv2.inpaint(known, mask, 3, cv2.INPAINT_TELEA)[area]
        np.testing.assert_array_equal(np.rint(result * 255), expected)


def test_no_hidden_pixel_is_read():
    images = smooth_images(5, 6)
    ridge = RidgeInpainter.fit(images[:4], BLOCKS, PATCH)
    for fill in (lambda some: inpaint_telea(some, BLOCKS, PATCH), ridge.inpaint):
        before = fill(images[4:])
        for area in block_areas(BLOCKS, PATCH):
            changed = images[4:].copy()
            changed[:, *area] = np.random.default_rng(6).integers(0, 256, changed[:, *area].shape)
            np.testing.assert_allclose(fill(changed)[:, *area], before[:, *area], atol=1e-5)


def test_ridge_is_scikit_learns_with_the_penalty_that_leaving_out_chooses():
    training, unseen = smooth_images(1, 12), smooth_images(2, 4)
    ridge = RidgeInpainter.fit(training, BLOCKS, PATCH)
    inpainted = ridge.inpaint(unseen)
    np.testing.assert_array_equal(mean_face(training), ridge.mean)
    x = training.reshape(12, SIZE, SIZE, 3).astype(np.float64) / 255
    for number in (0, 3):
        area, penalty = block_areas(BLOCKS, PATCH)[number], ridge.penalties[number]
        hidden = np.zeros((SIZE, SIZE), bool)
        hidden[area] = True
        outside, inside = x[:, ~hidden].reshape(12, -1), x[:, hidden].reshape(12, -1)
        centred = outside - outside.mean(axis=0)
        unit = (centred**2).sum() / 12
        errors = []
        for choice in PENALTIES:
            left = []
            for one in range(12):
                rest = np.arange(12) != one
                fit = Ridge(alpha=choice * unit).fit(outside[rest], inside[rest])
                left.append(fit.predict(outside[one : one + 1])[0] - inside[one])
            errors.append(np.square(left).mean())
        (chosen,) = np.flatnonzero(np.isclose(PENALTIES, penalty))
        assert errors[chosen] <= 1.05 * min(errors)
        assert max(errors) > 1.5 * min(errors)
        reference = Ridge(alpha=penalty * unit).fit(outside, inside)
        new = unseen.astype(np.float64)[:, ~hidden].reshape(4, -1) / 255
        expected = reference.predict(new).reshape(4, 6, 6, 3)
        np.testing.assert_allclose(inpainted[:, *area], expected, atol=2e-4)
    outside_blocks = ~BLOCKS.covered(PATCH)
    np.testing.assert_allclose(inpainted[:, outside_blocks] * 255, unseen[:, outside_blocks])


def test_better_knowledge_of_faces_has_the_smaller_error():
    training, unseen = smooth_images(3, 60), smooth_images(4, 10)
    truth, covered = unseen / 255, BLOCKS.covered(PATCH)
    errors = [
        np.square(filled - truth)[:, covered].mean()
        for filled in (
            RidgeInpainter.fit(training, BLOCKS, PATCH).inpaint(unseen),
            np.broadcast_to(mean_face(training), truth.shape),
        )
    ]
    assert errors[0] < 0.2 * errors[1]


def test_equal_images_and_a_single_one():
    same = np.full((3, SIZE, SIZE, 3), 90, np.uint8)
    inpainted = RidgeInpainter.fit(same, BLOCKS, PATCH).inpaint(same[:1])
    np.testing.assert_allclose(inpainted, 90 / 255, atol=1e-6)
    with pytest.raises(ValueError, match="at least two"):
        RidgeInpainter.fit(same[:1], BLOCKS, PATCH)
