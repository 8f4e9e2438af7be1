"""Additions to the patch embedding against loops in float64 and SciPy's cosine transform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.fft import dctn

from rffr_jax.models.detector import Detector
from rffr_jax.models.patch_embedding import (
    SMALLEST_ENERGY,
    ConvolutionStem,
    LogDCT,
    log_dct_energies,
)
from rffr_jax.models.sizes import SIZES, ModelSettings
from rffr_jax.models.vit import ViT
from tests.models import reference
from tests.models.test_models import call, random_model

SETTINGS = ModelSettings("tiny", image_size=18, patch_size=6)


def convolved(image, kernel, bias):
    """3 x 3 with zeros around the image, every second row and column."""
    side = len(image)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    rows = [
        [np.einsum("rci,rcio->o", padded[y : y + 3, x : x + 3], kernel) + bias
         for x in range(0, side, 2)]
        for y in range(0, side, 2)
    ]  # fmt: skip
    return np.array(rows)


def stem_output(patch, p):
    x = patch.reshape(6, 6, 3)
    for name in ("first", "second"):
        x = reference.gelu(convolved(x, p[name]["kernel"], p[name]["bias"]))
    return reference.linear(x.reshape(-1), p["output"])


def dct_output(patch, p):
    coefficients = np.asarray(dctn(patch.reshape(6, 6, 3), axes=(0, 1), norm="ortho"))
    return reference.linear(np.log10(1 + coefficients**2 / SMALLEST_ENERGY).ravel(), p["output"])


PARTS = {"conv": (ConvolutionStem, stem_output), "logdct": (LogDCT, dct_output)}


@pytest.mark.parametrize("name", PARTS)
def test_an_addition_equals_the_reference(name):
    build, expected = PARTS[name]
    module, parameters = random_model(
        lambda: build(SETTINGS, dtype=jnp.float32, rngs=nnx.Rngs(0)), 1
    )
    patches = np.random.default_rng(2).normal(size=(2, 5, 108))
    found = np.asarray(call(module, jnp.asarray(patches, jnp.float32)))
    assert found.shape == (2, 5, 32)
    for row, column in np.ndindex(2, 5):
        one = expected(patches[row, column], parameters)
        np.testing.assert_allclose(found[row, column], one, atol=2e-4, rtol=1e-4)


def test_no_energy_is_zero_and_no_patch_is_read_by_another():
    patches = np.random.default_rng(3).normal(size=(1, 4, 108)).astype(np.float32)
    patches[0, 2] = 0
    energies = np.asarray(log_dct_energies(jnp.asarray(patches), 6))
    assert not energies[0, 2].any()
    assert (energies[0, [0, 1, 3]].min(axis=1) >= 0).all()
    for build, _ in PARTS.values():
        module = build(SETTINGS, dtype=jnp.float32, rngs=nnx.Rngs(0))
        changed = patches.copy()
        changed[0, 1] += 1
        found = (call(module, jnp.asarray(images)) for images in (patches, changed))
        difference = np.abs(np.subtract(*found)).max(axis=(0, 2))
        assert difference[1] > 0.01
        np.testing.assert_array_equal(np.delete(difference, 1), 0)


def test_additions_are_added_to_the_linear_embedding():
    """A token is the linear embedding plus each addition: the class feature is the reference's."""
    names = ("conv", "logdct")
    vit, parameters = random_model(
        lambda: ViT(SETTINGS, additions=names, dtype=jnp.float32, rngs=nnx.Rngs(0)), 4
    )
    patches = np.random.default_rng(5).random((1, 3, 108))
    indices = np.array([[4, 0, 7]], np.int32)
    found = call(vit, jnp.asarray(patches, jnp.float32), jnp.asarray(indices))
    added = np.array(
        [sum(PARTS[n][1](one, parameters["additions"][n]) for n in names) for one in patches[0]]
    )
    moved = {**parameters, "positions": parameters["positions"].copy()}
    moved["positions"][1 + indices[0]] += added
    expected = reference.class_feature(moved, SIZES["tiny"], patches[0], indices[0])
    np.testing.assert_allclose(found[0], expected, atol=2e-4)


def test_patch_logits_come_from_the_tokens_of_the_original_branch():
    """The class logits stay as they are, and a permutation of patches permutes their logits."""
    detector, parameters = random_model(
        lambda: Detector(
            SETTINGS, inputs="both", patch_head=True, dtype=jnp.float32, rngs=nnx.Rngs(0)
        ),
        6,
    )
    generator = np.random.default_rng(7)
    patches = {
        name: jnp.asarray(generator.random((2, 4, 108)), jnp.float32)
        for name in ("original", "residual")
    }
    indices = jnp.asarray([[0, 3, 5, 8], [1, 2, 6, 7]], jnp.int32)
    lengths = jnp.array([4, 3], jnp.int32)
    with_patches = jax.jit(lambda *inputs: detector.with_patch_logits(*inputs))
    logits, of_patches = with_patches(patches, indices, lengths)
    np.testing.assert_allclose(logits, call(detector, patches, indices, lengths), atol=1e-5)
    turned = {name: values[:, [1, 0, 2, 3]] for name, values in patches.items()}
    _, moved = with_patches(turned, indices[:, np.array([1, 0, 2, 3])], lengths)
    np.testing.assert_allclose(moved[:, [1, 0, 2]], of_patches[:, :3], atol=1e-5)
    other = {**patches, "residual": 1 - patches["residual"]}
    np.testing.assert_array_equal(with_patches(other, indices, lengths)[1], of_patches)
    tokens = detector.branches["original"].tokens(patches["original"], indices, lengths)
    expected = reference.linear(np.asarray(tokens, np.float64), parameters["patch_head"])[..., 0]
    np.testing.assert_allclose(of_patches, expected[:, 1:], atol=1e-5)
