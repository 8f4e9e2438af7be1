"""The loss on patches, and which patches of which images count in it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.method.detection import Detection
from rffr_jax.method.patch_loss import PatchLogits, patch_losses
from tests.method.test_detection import SETTINGS

PLAIN = dataclasses.replace(SETTINGS, inputs="original", mae=None, patch_head=True)


def cross_entropy(logit, target):
    chance = 1 / (1 + np.exp(-np.float64(logit)))
    return -target * np.log(chance) - (1 - target) * np.log(1 - chance)


@pytest.mark.parametrize("padded", [True, False])
def test_the_loss_is_the_mean_over_the_patches_that_are_read(padded):
    rng = np.random.default_rng(0)
    logits, shares = rng.normal(size=(3, 4)), rng.random((3, 9))
    indices = np.stack([rng.permutation(9)[:4] for _ in range(3)])
    lengths = np.array([4, 1, 3]) if padded else np.array([4, 4, 4])
    given = jnp.asarray(lengths, jnp.int32) if padded else None
    patches = PatchLogits(jnp.asarray(logits, jnp.float32), jnp.asarray(indices, jnp.int32), given)
    found = patch_losses(patches, jnp.asarray(shares, jnp.float32))
    for row in range(3):
        each = [
            cross_entropy(logits[row, n], shares[row, indices[row, n]]) for n in range(lengths[row])
        ]
        np.testing.assert_allclose(found[row], np.mean(each), rtol=1e-5)


def test_only_the_drawn_blocks_count():
    """Row 0 reads block 2 and row 1 blocks 0 and 3: shares elsewhere change nothing."""
    detection = Detection(PLAIN, jnp.float32)
    parameters = detection.init_parameters(0)
    pixels = jnp.asarray(np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3)), jnp.uint8)
    chosen = jnp.array([[2, 1], [0, 3]], jnp.int32)

    @jax.jit
    def losses(images, shares):
        outputs = detection.train_logits(parameters, {}, images, chosen, (1, 2))
        assert outputs.patches is not None
        return patch_losses(outputs.patches, shares)

    base = np.asarray(losses(pixels, jnp.zeros((2, 16))))
    for patch in range(16):
        block = patch // 8 * 2 + patch % 4 // 2  # 2 x 2 blocks of 2 x 2 patches
        moved = np.asarray(losses(pixels, jnp.zeros((2, 16)).at[:, patch].set(1.0)))
        assert (moved != base).tolist() == [block == 2, block in (0, 3)]


def test_whole_images_have_patch_logits_and_a_test_needs_none():
    detection = Detection(dataclasses.replace(PLAIN, blocks="full"), jnp.float32)
    parameters = detection.init_parameters(0)
    pixels = jnp.asarray(np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3)), jnp.uint8)
    outputs = detection.train_logits(parameters, {}, pixels, None, ())
    assert outputs.patches is not None
    assert outputs.patches.logits.shape == (2, 16)
    tested = detection.logits(parameters, pixels, None)
    np.testing.assert_allclose(outputs.logits, tested, atol=1e-5)


def test_a_residual_branch_alone_has_no_patch_loss():
    with pytest.raises(UserError, match="patches of the original branch"):
        dataclasses.replace(SETTINGS, inputs="residual", patch_head=True)
    with pytest.raises(UserError, match="embedding='dct' is not known; choose linear, conv, "):
        dataclasses.replace(SETTINGS, embedding="dct")
