"""A frozen MAE in bfloat16: held in it, with the same results, and stored in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rffr_jax
from rffr_jax.method.detection import Detection
from rffr_jax.models.abstract import abstract_mae
from tests import jobs
from tests.random_detectors import TINY, settings_of


def as_stored(self, frozen):
    return frozen


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype),
        abstract_mae(TINY, jnp.bfloat16)[1],
    )


def test_residuals_logits_and_gradients_are_the_same_bit_for_bit(weights):
    detection = Detection(settings_of(), jnp.bfloat16)
    held = detection.in_compute_type(weights)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(held)) < 0.65 * sum(
        leaf.nbytes for leaf in jax.tree.leaves(weights)
    )
    size = TINY.image_size
    images = jnp.asarray(np.random.default_rng(1).integers(0, 256, (4, size, size, 3), np.uint8))
    chosen = jnp.tile(jnp.arange(2, dtype=jnp.int32), (4, 1))
    parameters = detection.init_parameters(0)

    def loss(parameters, frozen):
        logits = detection.train_logits(parameters, frozen, images, chosen, (1, 1, 2, 2)).logits
        return logits.std(), logits

    learn = jax.jit(jax.value_and_grad(loss, has_aux=True))
    for found in (
        [jax.jit(detection.residual_images)(frozen, images) for frozen in (weights, held)],
        [jax.jit(detection.differences)(frozen, images) for frozen in (weights, held)],
        [learn(parameters, frozen) for frozen in (weights, held)],
    ):
        one, other = map(jax.tree.leaves, found)
        assert all(map(np.array_equal, one, other))
        assert all(np.abs(leaf).max() > 0 for leaf in map(np.asarray, one[:2]))


def test_in_float32_nothing_is_copied(weights):
    held = Detection(settings_of(), jnp.float32).in_compute_type(weights)
    assert all(map(lambda one, other: one is other, *map(jax.tree.leaves, (weights, held))))


@pytest.mark.slow
def test_a_training_in_bfloat16_is_the_same_and_stores_float32(tmp_path, monkeypatch, data, mae):
    flags = (*data, f"mae={mae}", "dtype=bfloat16", "residuals.training=always")
    assert jobs.start("detect", tmp_path / "held" / "run", *flags) == 0
    images = np.random.default_rng(0).integers(0, 256, (3, jobs.SIZE, jobs.SIZE, 3), np.uint8)
    scores = rffr_jax.load_detector(tmp_path / "held" / "run", dtype="bfloat16").score(images)
    rffr_jax.load_detector(tmp_path / "held" / "run", dtype="bfloat16").save_pretrained(
        tmp_path / "model"
    )
    assert rffr_jax.load_detector(tmp_path / "model", dtype="bfloat16").digest == (
        rffr_jax.load_detector(tmp_path / "held" / "run").digest
    )
    with monkeypatch.context() as patch:
        patch.setattr(Detection, "in_compute_type", as_stored)
        assert jobs.start("detect", tmp_path / "cast" / "run", *flags) == 0
        cast = rffr_jax.load_detector(tmp_path / "cast" / "run", dtype="bfloat16").score(images)
    jobs.assert_same_run(tmp_path / "held" / "run", tmp_path / "cast" / "run")
    np.testing.assert_array_equal(scores, cast)
    stored = jobs.saved_arrays(tmp_path / "held" / "run" / "checkpoints" / "mae" / "0")
    given = jobs.saved_arrays(mae / "checkpoints" / "latest" / "4")
    jobs.assert_same_arrays(stored, given)
