"""The high-pass filter against a plain sum, and the autoencoder's residual by its equation."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rffr_jax.method.baseline_residuals import BLUR, high_pass_residual, reconstruction_residual
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
