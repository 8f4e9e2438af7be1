"""SBI: what its network drops at random, and its training as a job."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.models.efficientnet import Block, round_channels, stage_depths
from rffr_jax.models.sizes import EfficientNetSettings
from rffr_jax.rivals.sbi import Detector, Settings
from tests import jobs
from tests.training.test_ablations import stopped_and_resumed

SMALL = ("rival.width=0.05", "rival.depth=0.3")


def test_b4_has_its_channels_and_blocks():
    assert stage_depths(EfficientNetSettings()) == [2, 4, 4, 6, 6, 8, 2]
    channels = [round_channels(1.4 * n) for n in (32, 16, 24, 40, 80, 112, 192, 320, 1280)]
    assert channels == [48, 24, 32, 56, 112, 160, 272, 448, 1792]


def test_an_image_skips_a_block_or_gets_more_of_it():
    """A kept image's block counts 1 / (1 - p) times, so that its mean stays."""
    block = Block(8, 8, 3, expansion=6, stride=1, drop=0.25, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 4, 4, 8)), jnp.float32)
    keys = jax.vmap(jax.random.key)(jnp.arange(64, dtype=jnp.uint32))
    whole = np.asarray(block(x, True, None, None) - x)
    found = np.asarray(block(x, True, None, keys) - x)
    skipped = np.abs(found).max(axis=(1, 2, 3)) == 0
    assert 4 <= skipped.sum() <= 30
    np.testing.assert_allclose(found[~skipped], whole[~skipped] / 0.75, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_losses_depend_on_each_images_seed_only():
    model_of = nnx.Rngs(0)
    definition, state = nnx.split(
        Detector(Settings(0.05, 0.3), 48, dtype=jnp.float32, rngs=model_of)
    )
    images = jnp.asarray(np.random.default_rng(0).normal(size=(6, 48, 48, 3)), jnp.float32)
    labels, weight = jnp.array([0, 1, 0, 1, 0, 1]), jnp.ones(6)

    @jax.jit
    def losses(state, seeds):
        model = nnx.merge(definition, state)
        return model.losses(images, labels, weight, seeds)["loss"]

    def run(seeds):
        return losses(state, seeds)

    seeds = jnp.arange(6, dtype=jnp.uint32)
    np.testing.assert_array_equal(run(seeds), run(seeds))
    assert np.abs(run(seeds) - run(seeds + 6)).max() > 1e-4


@pytest.mark.slow
def test_it_trains_on_self_blended_pairs_and_resumes_bit_for_bit(tmp_path, data, faces):
    train = "data.train=synthetic:1#train?limit=24"
    flags = (train, f"data.validation=csv:{faces}/validation.csv", *SMALL)
    workdir = tmp_path / "detect"
    assert jobs.start("detect:sbi", workdir, *flags) == 0
    arrays = stopped_and_resumed("detect:sbi", workdir, flags)
    assert any(name.endswith("['var']") for name in arrays)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("data.methods=rows",), "data.methods chooses given fakes, and data.fakes=self_blended"),
        (("rival.depth=0.0",), "rival.width=0.05 and rival.depth=0.0 must both be above 0"),
        (("optimizer.name=lion",), "optimizer.name='lion' is not known; choose adamw, adam or sgd"),
        (("optimizer.sam_rho=-1.0",), "optimizer.sam_rho=-1.0; it must not be negative"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, data, capsys, flags, says):
    train = ("data.train=synthetic:1#train?limit=24", *data[1:])
    assert jobs.start("detect:sbi", tmp_path / "run", *train, *SMALL, *flags) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
