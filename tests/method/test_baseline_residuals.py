"""The high-pass filter against a plain sum, the others by their equations in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.method.baseline_residuals import (
    BLUR,
    high_pass_residual,
    reconstruction_residual,
    ridge_differences,
    ridge_shapes,
)
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.residual import residual_from_differences
from rffr_jax.method.simple_inpainting import RidgeInpainter
from rffr_jax.models.sizes import UNetSettings
from rffr_jax.models.unet import UNet


def filtered(image, radius=8):
    """X - G * X in float64 by its definition, over a window of 2 x `radius` + 1 pixels."""
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * BLUR**2))
    weights /= weights.sum()
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape, axis=(0, 1))
    return image - np.einsum("rcxij,ij->rcx", windows, weights)


def test_the_high_pass_filter_is_the_image_without_its_blur():
    images = np.random.default_rng(0).random((2, 24, 24, 3))
    found = np.asarray(jax.jit(high_pass_residual)(images.astype(np.float32), 1.5))
    expected = np.stack([filtered(image) for image in images])
    np.testing.assert_allclose(found, (1.5 * expected).clip(-1, 1), atol=2e-6)
    assert 0.1 < np.abs(expected).mean() < 0.5
    assert found.max() < 1 > -found.min()


def test_amplification_is_clipped_and_flat_images_have_no_residual():
    images = np.random.default_rng(1).random((1, 20, 20, 3)).astype(np.float32)
    strong = np.asarray(high_pass_residual(jnp.asarray(images), 100.0))
    assert strong.dtype == np.float32
    assert strong.max() == 1
    assert strong.min() == -1
    flat = jnp.full((1, 20, 20, 3), 0.7)
    assert np.abs(high_pass_residual(flat, 4.0)).max() < 1e-5


def test_borders_are_mirrored():
    """A ramp that is mirrored behind its border has no step there."""
    edge = np.zeros((1, 20, 20, 3), np.float32)
    edge[:, 10:] = 0.1
    residual = np.abs(np.asarray(high_pass_residual(jnp.asarray(edge), 1.0)))[0, :, 10, 0]
    assert residual[[9, 10]].min() > 0.03
    assert residual[[0, 19]].max() < 1e-4


def test_a_reconstruction_residual_is_the_amplified_difference():
    unet = UNet(UNetSettings(16, 4, 2), dtype=jnp.float32, rngs=nnx.Rngs(0))
    images = np.random.default_rng(2).random((3, 16, 16, 3)).astype(np.float32)
    reconstructed, residual = jax.jit(reconstruction_residual)(unet, images, 0.8)
    np.testing.assert_allclose(reconstructed, unet(jnp.asarray(images)), atol=1e-5)
    expected = (0.8 * (np.asarray(reconstructed) - images)).clip(-1, 1)
    np.testing.assert_allclose(residual, expected, atol=1e-6)
    assert np.abs(expected).std() > 0.01


RING = BlockGrid(7, 2)  # of patches of two pixels: a ring that no block reaches


def reference_ridge(training, images, penalties, rank):
    """Pixels of every block, and what they are filled with, in float64.

    With all components by the primal normal equations; with fewer, the weights lie in their span.
    """
    x = training.reshape(len(training), -1) / 255.0
    mean = x.mean(axis=0)
    _, _, axes = np.linalg.svd(x - mean, full_matrices=False)
    places = np.arange(14 * 14 * 3).reshape(14, 14, 3)
    for number, patches in enumerate(RING.hidden):
        row, column = 2 * np.array(divmod(patches[0], 7))
        block = places[row : row + 6, column : column + 6].ravel()
        rest = np.setdiff1d(places, block)
        known, inside = (x - mean)[:, rest], (x - mean)[:, block]
        penalty = penalties[number] * np.square(known).sum() / len(known)
        span = np.eye(len(rest)) if rank == len(x) - 1 else axes[:rank, rest].T
        normal = span.T @ (known.T @ known + penalty * np.eye(len(rest))) @ span
        weights = span @ np.linalg.solve(normal, span.T @ known.T @ inside)
        new = images.reshape(len(images), -1) / 255.0 - mean
        yield block, new[:, rest] @ weights + mean[block]


@pytest.mark.parametrize(("most", "rank"), [(100, 8), (3, 3)])
def test_a_stored_ridge_fills_every_block_as_the_equations_do(most, rank):
    rng = np.random.default_rng(3)
    basis = rng.normal(size=(4, 14 * 14 * 3))
    faces = 127 + 20 * rng.normal(size=(12, 4)) @ basis + rng.normal(0, 3, (12, 588))
    faces = faces.reshape(12, 14, 14, 3).clip(0, 255).astype(np.uint8)
    training, unseen = faces[:9], faces[9:]
    fitted = RidgeInpainter.fit(training, RING, 2)
    stored = fitted.compact(most)
    assert {name: array.shape for name, array in stored.items()} == {
        name: shape.shape for name, shape in ridge_shapes(RING, 2, rank).items()
    }
    pixels = unseen.astype(np.float32) / 255
    differences = ridge_differences(stored, RING, 2, jnp.asarray(pixels))
    found = residual_from_differences(differences, RING, 2, 1.7)
    expected = np.zeros((3, 588))
    for block, filled in reference_ridge(training, unseen, fitted.penalties, rank):
        expected[:, block] = 1.7 * (filled - pixels.reshape(3, -1)[:, block])
    expected = expected.reshape(found.shape).clip(-1, 1)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert np.abs(expected).max() > 0.1
    if rank == 8:
        whole = pixels + residual_from_differences(differences, RING, 2, 1.0)
        np.testing.assert_allclose(whole, fitted.inpaint(unseen), atol=2e-4)
