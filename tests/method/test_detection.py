"""The detector's one forward path: training on chosen blocks and testing on all of them agree."""

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.errors import UserError
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.detection import Detection, unit_range
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.simple_inpainting import RidgeInpainter
from rffr_jax.models.abstract import abstract, abstract_mae
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings, UNetSettings
from rffr_jax.models.unet import UNet
from rffr_jax.rivals.xception import Detector, Settings

TINY = ModelSettings("tiny", 48, 12)
SETTINGS = DetectionSettings(
    model=TINY,
    mae=TINY,
    inputs="both",
    blocks="random",
    residual="mae",
    k=2,
    alpha=4.0,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

MEAN, STD = np.array(SETTINGS.mean), np.array(SETTINGS.std)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def mae_parameters():
    return nnx.to_pure_dict(nnx.state(MAE(TINY, dtype=jnp.float32, rngs=nnx.Rngs(1)), nnx.Param))


def test_pixels_become_the_unit_range():
    pixels = jnp.array([[[[0, 51, 255]]]], jnp.uint8)
    np.testing.assert_allclose(unit_range(pixels), [[[[0.0, 0.2, 1.0]]]], rtol=1e-6)


def test_the_covered_pixels_are_those_of_the_blocks():
    covered = Detection(SETTINGS, jnp.float32).blocks.covered(12)
    assert covered.shape == (48, 48)
    assert covered.all()
    ring = BlockGrid(14, 4).covered(2)  # the released geometry: one patch outside on each side
    assert ring[2:-2, 2:-2].all()
    assert ring.sum() == 24 * 24


def test_settings_survive_a_checkpoint():
    for settings in (
        SETTINGS,
        dataclasses.replace(SETTINGS, residual="ridge", mae=None, ridge_rank=3),
        dataclasses.replace(SETTINGS, mae=None, inputs="original"),
        dataclasses.replace(SETTINGS, residual="unet", mae=None, unet=UNET, blocks_per_pass=3),
        RIVAL,
    ):
        written = json.loads(json.dumps(settings.to_json()))
        assert DetectionSettings.from_json(written) == settings


@pytest.mark.parametrize(
    ("inputs", "residual", "reads", "needs"),
    [
        ("both", "mae", True, True),
        ("residual", "mae", True, True),
        ("both", "zero", True, False),
        ("original", "mae", False, False),
    ],
)
def test_who_needs_a_mae(inputs, residual, reads, needs):
    settings = dataclasses.replace(SETTINGS, inputs=inputs, residual=residual)
    assert (settings.reads_residual, settings.needs_mae) == (reads, needs)


def test_unknown_words_are_named():
    with pytest.raises(UserError, match=r"blocks='ful' is not known; choose random, full, "):
        dataclasses.replace(SETTINGS, blocks="ful")
    with pytest.raises(UserError, match=r"='none' is not known; .* detector.inputs=original"):
        dataclasses.replace(SETTINGS, residual="none")
    with pytest.raises(UserError, match=r"detector.inputs='rgb' is not known; choose both, "):
        dataclasses.replace(SETTINGS, inputs="rgb", mae=None)


@pytest.mark.slow
@pytest.mark.parametrize("blocks_per_pass", [1, 2])
def test_training_on_all_blocks_equals_testing(images, mae_parameters, blocks_per_pass):
    settings = dataclasses.replace(SETTINGS, blocks_per_pass=blocks_per_pass)
    detection = Detection(settings, jnp.float32)
    parameters = detection.init_parameters(0)
    chosen = jnp.tile(jnp.arange(4, dtype=jnp.int32), (4, 1))
    trained, *_ = jax.jit(detection.train_logits, static_argnums=4)(
        parameters, mae_parameters, images, chosen, (4,)
    )
    residuals = jax.jit(detection.residual_images)(mae_parameters, images)
    tested = jax.jit(detection.logits)(parameters, images, residuals)
    assert np.asarray(tested).std() > 0
    np.testing.assert_allclose(trained, tested, atol=1e-5)


@pytest.mark.slow
def test_compiled_mae_arithmetic_is_proportional_to_the_blocks_drawn(monkeypatch):
    monkeypatch.setattr(jax.lax, "scan", functools.partial(jax.lax.scan, unroll=True))  # XLA counts
    detection = Detection(dataclasses.replace(SETTINGS, k=4), jnp.float32)  # a loop's body once

    def step_flops(counts):
        def loss(parameters, mae_parameters, images, chosen):
            logits, *_ = detection.train_logits(parameters, mae_parameters, images, chosen, counts)
            return jnp.mean(logits**2)

        images = jax.ShapeDtypeStruct((4, 48, 48, 3), jnp.uint8)
        chosen = jax.ShapeDtypeStruct((4, max(counts)), jnp.int32)
        arguments = (detection.abstract_parameters, detection.abstract_frozen, images, chosen)
        analysis = jax.jit(jax.grad(loss)).lower(*arguments).compile().cost_analysis()
        assert analysis is not None
        return analysis["flops"]

    # The classifier reads 4 x 5 blocks each time, used or not.
    fewest, some, most = (step_flops(counts) for counts in [(1, 1, 1, 5), (1, 3, 4, 5), (5,) * 4])
    one_pass = (most - fewest) / (20 - 8)
    assert one_pass > 0.02 * fewest
    np.testing.assert_allclose(some - fewest, (13 - 8) * one_pass, rtol=0.02)


def test_blocks_that_are_not_chosen_are_not_seen(images):
    settings = dataclasses.replace(SETTINGS, residual="zero", mae=None)
    detection = Detection(settings, jnp.float32)
    parameters = detection.init_parameters(0)
    chosen = jnp.array([[0, 1], [0, 2], [3, 1], [2, 0]], jnp.int32)
    logits = jax.jit(
        lambda pixels: detection.train_logits(parameters, {}, pixels, chosen, (1, 2))[0]
    )
    first = np.asarray(logits(images))
    corner = images.at[:, :24, :24].set(0)  # block 0: rows 0 (its only block), 1 and 3 see it
    changed = np.abs(np.asarray(logits(corner)) - first).max(axis=1)
    assert (changed[[0, 1, 3]] > 1e-4).all()
    assert changed[2] == 0
    right = images.at[:, :24, 24:].set(0)  # block 1: in the list of rows 0 and 2, used by neither
    np.testing.assert_allclose(logits(right), first, atol=1e-6)


def test_the_plain_vit_reads_every_patch_and_no_mae(images):
    settings = dataclasses.replace(SETTINGS, inputs="original", blocks="full", k=3, mae=None)
    detection = Detection(settings, jnp.float32)
    assert detection.abstract_frozen == {}
    parameters = detection.init_parameters(0)
    logits = jax.jit(lambda pixels: detection.train_logits(parameters, {}, pixels, None, ())[0])
    last_patch = images.at[:, 36:, 36:].set(0)  # outside of what 3 x 3 blocks of 1 patch cover
    assert np.abs(np.asarray(logits(last_patch) - logits(images))).max() > 1e-4


def test_residuals_come_from_the_mae_or_are_zero(images, mae_parameters):
    zero = Detection(dataclasses.replace(SETTINGS, residual="zero", mae=None), jnp.float32)
    residuals = zero.residual_images({}, images)
    assert residuals is not None
    assert not np.asarray(residuals).any()
    original = Detection(dataclasses.replace(SETTINGS, inputs="original"), jnp.float32)
    assert original.residual_images({}, images) is None


def test_a_mae_is_described_without_being_made():
    _, abstract = abstract_mae(TINY, jnp.float32)
    assert {type(leaf) for leaf in jax.tree.leaves(abstract)} == {jax.ShapeDtypeStruct}
    assert abstract["mask_token"].shape == (32,)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [np.array([[3, 0], [1, 2], [0, 2], [2, 1]], np.int32), None])
def test_training_reads_kept_differences_as_it_reads_the_mae(images, mae_parameters, chosen):
    blocks = "full" if chosen is None else "random"
    detection = Detection(dataclasses.replace(SETTINGS, blocks=blocks), jnp.float32)
    parameters, counts = detection.init_parameters(0), (1, 2)
    differences = np.asarray(jax.jit(detection.differences)(mae_parameters, images))
    if chosen is not None:
        of_blocks = differences.reshape(4, 4, 4, -1)
        differences = of_blocks[np.arange(4)[:, None], chosen].reshape(4, 8, -1)
    logits = jax.jit(detection.train_logits, static_argnums=4)
    direct, *_ = logits(parameters, mae_parameters, images, chosen, counts)
    kept, *_ = logits(parameters, {}, images, chosen, counts, differences)
    np.testing.assert_allclose(kept, direct, atol=1e-3)
    nothing, *_ = logits(parameters, {}, images, chosen, counts, np.zeros_like(differences))
    assert np.abs(nothing - direct).max() > 0.01


def test_the_covered_area_is_the_image_without_its_ring(images):
    """3 x 3 of 4 x 4 patches: what lies outside is not seen, and all that lies inside is."""
    settings = dataclasses.replace(SETTINGS, inputs="original", blocks="covered", k=3, mae=None)
    detection = Detection(settings, jnp.float32)
    parameters = detection.init_parameters(0)
    train = jax.jit(lambda pixels: detection.train_logits(parameters, {}, pixels, None, ())[0])
    first = np.asarray(train(images))
    covered = detection.blocks.covered(12)
    assert 0 < covered.sum() < covered.size
    outside = jnp.where(covered[..., None], images, 0)
    np.testing.assert_array_equal(train(outside), first)
    for row, column in np.argwhere(covered)[:: 12 * 12]:
        assert np.abs(np.asarray(train(images.at[:, row, column].set(0))) - first).max() > 0
    np.testing.assert_allclose(detection.logits(parameters, images, None), first, atol=1e-6)


UNET = UNetSettings(48, 2, 2)


def unet_parameters():
    return nnx.to_pure_dict(nnx.state(UNet(UNET, dtype=jnp.float32, rngs=nnx.Rngs(1)), nnx.Param))


def ridge_parameters():
    known = np.random.default_rng(5).integers(0, 256, (6, 48, 48, 3), np.uint8)
    return RidgeInpainter.fit(known, BlockGrid(4, 2), 12).compact(3)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["unet", "ridge", "high_pass", "zero"])
def test_residuals_of_whole_images_are_read_where_the_blocks_are(images, source):
    changes = {"residual": source, "mae": None, "unet": UNET, "ridge_rank": 3}
    detection = Detection(dataclasses.replace(SETTINGS, **changes), jnp.float32)
    frozen = {"unet": unet_parameters, "ridge": ridge_parameters}.get(source, dict)()
    parameters = detection.init_parameters(0)
    train = jax.jit(detection.train_logits, static_argnums=4)
    every = jnp.tile(jnp.array([2, 0, 3, 1], jnp.int32), (4, 1))
    trained, *_ = train(parameters, frozen, images, every, (4,))
    residuals = jax.jit(detection.residual_images)(frozen, images)
    tested = detection.logits(parameters, images, residuals)
    np.testing.assert_allclose(trained, tested, atol=1e-5)


def test_every_source_has_its_own_residual(images, mae_parameters):
    found = []
    for source, frozen in (
        ("mae", mae_parameters),
        ("unet", unet_parameters()),
        ("ridge", ridge_parameters()),
        ("high_pass", {}),
        ("zero", {}),
    ):
        settings = dataclasses.replace(SETTINGS, residual=source, unet=UNET, ridge_rank=3)
        residuals = jax.jit(Detection(settings, jnp.float32).residual_images)(frozen, images)
        found.append(np.asarray(residuals))
        assert found[-1].dtype == np.float32
        assert np.abs(found[-1]).max() <= 1
    for one, other in itertools.combinations(found, 2):
        assert np.abs(one - other).mean() > 0.01


@pytest.mark.parametrize(
    ("inputs", "source", "kind"),
    [
        ("both", "mae", "mae"),
        ("residual", "unet", "unet"),
        ("original", "unet", ""),
        ("both", "ridge", "ridge"),
        ("original", "ridge", ""),
        ("both", "high_pass", ""),
        ("both", "zero", ""),
    ],
)
def test_who_needs_trained_weights(inputs, source, kind):
    settings = dataclasses.replace(
        SETTINGS, inputs=inputs, residual=source, unet=UNET, ridge_rank=3
    )
    assert settings.autoencoder == kind
    assert bool(Detection(settings, jnp.float32).abstract_frozen) == bool(kind)


# ---- a rival

RIVAL = dataclasses.replace(
    SETTINGS,
    model=ModelSettings("tiny", 48, 48),
    inputs="original",
    blocks="full",
    mae=None,
    k=1,
    backbone="xception",
    rival=Settings(1 / 16, 1),
)


@pytest.mark.slow
def test_a_rival_reads_normalised_whole_images_and_follows_the_batch(images):
    detection = Detection(RIVAL, jnp.float32)
    assert detection.residual_images({}, images) is None
    parameters = jax.jit(detection.init_parameters, static_argnums=0)(0)
    labels, weight = jnp.array([0, 1, 0, 1]), jnp.array([1.0, 1.0, 0.0, 1.0])
    seeds = jnp.arange(4, dtype=jnp.uint32)
    train = jax.jit(
        lambda pixels: detection.rival_losses(parameters, pixels, labels, weight, seeds)
    )
    losses, statistics = train(images)
    build = functools.partial(Detector, RIVAL.rival, 48, dtype=jnp.float32)
    definition, _ = abstract(lambda rngs: build(rngs=rngs))

    @jax.jit
    def plain(pixels):
        model = nnx.merge(definition, nnx.State(parameters))
        return model.losses(pixels, labels, weight, seeds)

    expected = plain(jnp.asarray((images / 255 - MEAN) / STD, jnp.float32))
    np.testing.assert_allclose(losses["loss"], expected["loss"], atol=1e-4, rtol=1e-4)
    assert statistics.keys() == {"backbone"}
    assert statistics["backbone"]["stem1"]["norm"].keys() == {"mean", "var"}
    other = images.at[2].set(255 - images[2])  # the image of weight 0
    jax.tree.map(np.testing.assert_array_equal, train(other)[1], statistics)
    test = jax.jit(lambda pixels: detection.logits(parameters, pixels, None))
    changed = np.abs(np.asarray(test(other) - test(images))).max(axis=1)
    assert changed[2] > 1e-4
    assert changed[[0, 1, 3]].max() < 1e-5


def test_a_rival_is_for_whole_originals():
    with pytest.raises(UserError, match=r"add --config.detector.inputs=original --config.det"):
        dataclasses.replace(RIVAL, blocks="random")
