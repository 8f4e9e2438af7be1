"""Kept residuals are those that would be computed, and those of another question never are used."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.method import array_cache
from rffr_jax.method.array_cache import image_digests, parameters_digest, shared_folder
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.residual_cache import ResidualCache
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings

TINY = ModelSettings("tiny", 48, 12)
ONES = (1.0, 1.0, 1.0)
SETTINGS = DetectionSettings(TINY, TINY, "both", "random", "mae", 3, 4.0, ONES, ONES)
RELATIVE_ERROR = 2.0**-11
"""What float16 may be off by, and so may a residual: 0.0005 where it is 1."""


def mae_parameters(seed=0, scale=1.0):
    model = MAE(TINY, dtype=jnp.float32, rngs=nnx.Rngs(seed))
    parameters = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    return jax.tree.map(lambda leaf: scale * leaf, parameters)


def images(count=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)


class Counted:
    """Kept residuals that count how often a batch goes through the MAE."""

    def __init__(self, folder, *, settings=SETTINGS, mae=None, dtype=jnp.float32, memory_gb=0.0):
        detection = Detection(settings, dtype)
        mae = mae_parameters() if mae is None else mae
        self.kept = ResidualCache(detection, mae, make_mesh(), folder=folder, memory_gb=memory_gb)
        self.computed = 0
        compute = self.kept.compute

        def counting(*arguments):
            self.computed += 1
            return compute(*arguments)

        self.kept.compute = counting  # pyright: ignore[reportAttributeAccessIssue]

    def of(self, pixels):
        found = self.kept.of(pixels, image_digests(pixels))
        self.kept.flush()
        return found


@pytest.mark.parametrize(("alpha", "scale"), [(4.0, 1.0), (16.0, 0.2)])
def test_residuals_from_what_is_kept_are_those_that_the_mae_gives(tmp_path, alpha, scale):
    settings = dataclasses.replace(SETTINGS, alpha=alpha)
    detection, mae = Detection(settings, jnp.float32), mae_parameters(scale=scale)
    direct = np.asarray(jax.jit(detection.residual_images)(mae, images()))
    Counted(tmp_path, mae=mae).of(images())
    again = Counted(tmp_path, mae=mae)
    kept = np.asarray(jax.jit(detection.residual_images_from_differences)(again.of(images())))
    assert again.computed == 0
    assert (np.abs(direct) > 0.01).mean() > 0.3
    assert np.all(np.abs(kept - direct) <= RELATIVE_ERROR * np.abs(direct) + 1e-5)
    covered = detection.blocks.covered(TINY.patch_size)
    assert not kept[:, ~covered].any()
    assert not covered.all()


def test_fresh_values_are_rounded_like_kept_ones(tmp_path):
    fresh = Counted(tmp_path).of(images())
    assert fresh.dtype == np.float16
    np.testing.assert_array_equal(Counted(tmp_path).of(images()), fresh)
    np.testing.assert_array_equal(Counted(None).of(images()), fresh)


@pytest.mark.parametrize("memory_gb", [0.0, 1e-5, 1.0])
def test_a_second_pass_and_a_second_run_compute_nothing(tmp_path, memory_gb):
    first = Counted(tmp_path, memory_gb=memory_gb)
    expected = first.of(images())
    np.testing.assert_array_equal(first.of(images()), expected)
    assert first.computed == 1
    second = Counted(tmp_path, memory_gb=memory_gb)
    turned = second.of(images()[::-1])
    np.testing.assert_array_equal(turned[::-1], expected)
    assert second.computed == 0


def test_without_a_folder_memory_alone_decides():
    roomy, narrow = Counted(None, memory_gb=1.0), Counted(None, memory_gb=0.0)
    for _ in range(2):
        np.testing.assert_array_equal(roomy.of(images()), narrow.of(images()))
    assert (roomy.computed, narrow.computed) == (1, 2)


def test_a_changed_image_alone_is_computed(tmp_path):
    before = Counted(tmp_path).of(images())
    changed = images()
    changed[2, 5, 5, 0] ^= 1
    again = Counted(tmp_path)
    found = again.of(changed)
    assert again.computed == 1
    np.testing.assert_array_equal(found[[0, 1, 3]], before[[0, 1, 3]])
    direct = Counted(None).of(changed)
    np.testing.assert_array_equal(found[2], direct[2])
    assert (found[2] != before[2]).any()


def _another_mae():
    changed = mae_parameters()
    leaves, structure = jax.tree.flatten(changed)
    leaves[-1] = leaves[-1].at[(0,) * leaves[-1].ndim].add(1e-3)
    return {"mae": jax.tree.unflatten(structure, leaves)}


@pytest.mark.parametrize(
    "other",
    [
        _another_mae,
        lambda: {"settings": dataclasses.replace(SETTINGS, k=2)},
        lambda: {"dtype": jnp.bfloat16},
    ],
    ids=["mae", "k", "compute type"],
)
def test_another_question_is_answered_anew(tmp_path, other):
    Counted(tmp_path).of(images())
    asked = Counted(tmp_path, **other())
    found = asked.of(images())
    assert asked.computed == 1
    np.testing.assert_array_equal(found, Counted(None, **other()).of(images()))
    once_more = Counted(tmp_path)
    once_more.of(images())
    assert once_more.computed == 0
    abouts = [json.loads(file.read_text()) for file in tmp_path.glob("*/about.json")]
    assert len(abouts) == 2
    assert abouts[0] != abouts[1]


def test_another_format_is_not_read(tmp_path, monkeypatch):
    Counted(tmp_path).of(images())
    monkeypatch.setattr(array_cache, "FORMAT", array_cache.FORMAT + 1)
    asked = Counted(tmp_path)
    asked.of(images())
    assert asked.computed == 1


@pytest.mark.parametrize(
    "changes",
    [{"alpha": 2.0}, {"blocks": "full"}, {"inputs": "residual"}, {"mean": (0.0, 0.0, 0.0)}],
)
def test_what_a_difference_does_not_depend_on_shares_it(tmp_path, changes):
    expected = Counted(tmp_path).of(images())
    asked = Counted(tmp_path, settings=dataclasses.replace(SETTINGS, **changes))
    np.testing.assert_array_equal(asked.of(images()), expected)
    assert asked.computed == 0


def test_the_digest_of_weights_tells_values_names_and_shapes_apart():
    one = {"a": np.arange(6.0, dtype=np.float32), "b": np.float32(1)}
    others = [
        {**one, "b": np.float32(2)},
        {"a": one["a"], "c": one["b"]},
        {**one, "a": one["a"].reshape(2, 3)},
        {**one, "a": one["a"].astype(np.float64)},
    ]
    digests = {parameters_digest(tree) for tree in (one, *others)}
    assert len(digests) == 5
    assert parameters_digest(jax.tree.map(jnp.asarray, one)) in digests


def test_a_relative_folder_starts_at_the_workdir():
    assert shared_folder("../residuals", Path("runs/detect")) == Path("runs/residuals")
    assert shared_folder("/disk/residuals", Path("runs/detect")) == Path("/disk/residuals")
    assert shared_folder("", Path("runs/detect")) is None
