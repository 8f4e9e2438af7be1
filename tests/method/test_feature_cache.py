"""Kept features are those of the frozen backbone, and never those of another one or image."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.method.array_cache import MemoryBudget, image_digests
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.feature_cache import FeatureCache
from rffr_jax.models.sizes import BackboneSettings, ModelSettings

TINY = ModelSettings("tiny", 48, 12)
DINO = BackboneSettings(32, 2, 2, 28, 14, registers=2, layer_scale=True)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)
SETTINGS = DetectionSettings(
    TINY, None, "both", "random", "high_pass", 2, 4.0, MEAN, STD, pretrained=DINO, train="head"
)


def images(count=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def parameters():
    return Detection(SETTINGS, jnp.float32).init_parameters(0)


def features(folder, pixels, parameters, *, settings=SETTINGS, memory_gb=0.0, may_compute=True):
    """From the folder, or computed where that is allowed."""
    backbone, memory = parameters["branches"]["original"], MemoryBudget(memory_gb)
    detection = Detection(settings, jnp.float32)
    cache = FeatureCache(detection, backbone, make_mesh(), folder=folder, memory=memory)
    if not may_compute:
        cache.compute = None  # pyright: ignore[reportAttributeAccessIssue]
    found = cache.of(pixels, image_digests(pixels))
    cache.flush()
    return found


def test_logits_and_gradients_from_kept_features_are_those_from_images(tmp_path, parameters):
    detection = Detection(SETTINGS, jnp.float32)
    features(tmp_path, images(), parameters)
    kept = features(tmp_path, images(), parameters, may_compute=False)
    assert kept.shape == (4, 32)
    assert kept.dtype == np.float32
    pixels = jnp.asarray(images())
    chosen, counts = jnp.array([[0, 3], [1, 2], [3, 1], [2, 0]]), (1, 2)

    @jax.jit
    def logits(trained, kept):
        whole = detection.whole(trained, parameters["branches"]["original"])
        return detection.train_logits(whole, {}, pixels, chosen, counts, None, kept).logits

    def loss(trained, kept):
        return jnp.square(logits(trained, kept)).sum()

    trained = detection.trained_part(parameters)
    np.testing.assert_allclose(logits(trained, kept), logits(trained, None), atol=1e-5)
    assert np.abs(logits(trained, kept) - logits(trained, 0 * kept)).max() > 1e-3
    some, others = (jax.grad(loss)(trained, given) for given in (kept, None))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), some, others)


def test_another_backbone_size_or_image_is_computed_anew(tmp_path, parameters):
    before = features(tmp_path, images(), parameters)
    changed = jax.tree.map(jnp.copy, parameters)
    original = changed["branches"]["original"]
    original["norm"]["scale"] = original["norm"]["scale"].at[0].add(1e-2)
    other_mean = dataclasses.replace(SETTINGS, mean=MEAN[::-1])
    one_changed = images()
    one_changed[2, 5, 5, 0] ^= 1
    for given in (
        {"pixels": images(), "parameters": changed},
        {"pixels": images(), "parameters": parameters, "settings": other_mean},
        {"pixels": one_changed, "parameters": parameters},
    ):
        with pytest.raises(TypeError):
            features(tmp_path, **given, may_compute=False)
        found = features(tmp_path, **given)
        np.testing.assert_array_equal(found, features(tmp_path, **given, may_compute=False))
        assert (found != before).any()
    np.testing.assert_array_equal(
        features(tmp_path, images(), parameters, may_compute=False), before
    )
    assert len([folder for folder in tmp_path.iterdir() if folder.is_dir()]) == 3
