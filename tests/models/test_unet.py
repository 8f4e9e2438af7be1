"""The UNet against plain NumPy, and what fits it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.errors import UserError
from rffr_jax.models.abstract import abstract_unet
from rffr_jax.models.sizes import UNetSettings
from rffr_jax.models.unet import UNet


def conv(x, weights):
    """A convolution that keeps the size, as a sum over the kernel's places; float64."""
    kernel, bias = (np.asarray(weights[name], np.float64) for name in ("kernel", "bias"))
    side = len(kernel)
    reach = side // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    height, width = x.shape[1:3]
    return bias + sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(side)
        for j in range(side)
    )


def pair(x, weights):
    for name in ("first", "second"):
        x = np.maximum(conv(x, weights[name]), 0)
    return x


def pooled(x):
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def enlarged(x, weights):
    """Every pixel becomes a 2 x 2 square, each place by its own matrix (Flax keeps them turned)."""
    kernel, bias = (np.asarray(weights[name], np.float64) for name in ("kernel", "bias"))
    batch, height, width, _ = x.shape
    out = np.empty((batch, 2 * height, 2 * width, kernel.shape[-1]))
    for i in range(2):
        for j in range(2):
            out[:, i::2, j::2] = x @ kernel[1 - i, 1 - j] + bias
    return out


def reference(x, weights):
    skips = []
    for level in ("level0", "level1"):
        skips.append(pair(x, weights["down"][level]))
        x = pooled(skips[-1])
    x = pair(x, weights["bottom"])
    for level in ("level1", "level0"):
        x = np.concatenate([skips.pop(), enlarged(x, weights["enlarge"][level])], axis=-1)
        x = pair(x, weights["up"][level])
    return conv(x, weights["prediction"])


def test_the_unet_is_that_of_the_paper_with_convolutions_that_keep_the_size():
    unet = UNet(UNetSettings(12, width=3, depth=2), dtype=jnp.float32, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    parameters = jax.tree.map(  # biases too
        lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32),
        nnx.to_pure_dict(nnx.state(unet)),
    )
    nnx.update(unet, nnx.State(parameters))
    images = rng.random((2, 12, 12, 3)).astype(np.float32)
    found = np.asarray(jax.jit(lambda unet, images: unet(images))(unet, images))
    expected = reference(images.astype(np.float64), parameters)
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_original_size_has_its_parameters():
    _, abstract = abstract_unet(UNetSettings(224, width=64, depth=4))
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract)) == 31_031_875  # 3 colours out
    assert abstract["bottom"]["second"]["kernel"].shape == (3, 3, 1024, 1024)


def test_it_computes_in_its_type_and_predicts_float32():
    unet = UNet(UNetSettings(8, width=2, depth=1), dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert unet(jnp.ones((1, 8, 8, 3))).dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(unet))} == {jnp.dtype("float32")}


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(UserError, match=r"unet.depth=3 .* model.image_size=12 is not a mult.* 8$"):
        UNetSettings(12, 4, 3)
    with pytest.raises(UserError, match=r"unet.width=0 and unet.depth=1 must both be 1 or more"):
        UNetSettings(12, 0, 1)
