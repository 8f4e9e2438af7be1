"""UIA-ViT: its network beside PyTorch's numbers, its losses beside plain loops, its trainings."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.convert.importing import import_weights
from rffr_jax.models.abstract import PARAMETERS
from rffr_jax.rivals.uia_vit import (
    Detector,
    Settings,
    central_patches,
    consistency_distance,
)
from tests import jobs
from tests.training.test_ablations import stopped_and_resumed

FIXTURES = pathlib.Path(__file__).parents[1] / "convert" / "fixtures"
TOLERANCE = 2e-5  # of each stage's largest value
SMALL = ("rival.size=tiny", "rival.patch_size=12")


def detector(image_size=24, patch_size=6):
    settings = Settings("tiny", patch_size)
    return nnx.split(Detector(settings, image_size, dtype=jnp.float32, rngs=nnx.Rngs(0)))


def test_every_stage_is_that_of_pytorch():
    """`tests/convert/make_fixtures.py` made the numbers, in float64."""
    expected = dict(np.load(FIXTURES / "uia_vit" / "stages.npz"))
    vit = import_weights(FIXTURES / "timm" / "model.safetensors").parameters
    definition, state = detector(56, 4)
    parameters = nnx.to_pure_dict(nnx.filter_state(state, PARAMETERS))
    head = {name: expected.pop(f"head_{name}") for name in ("kernel", "bias")}
    parameters |= {"backbone": vit, "head": head}
    images = np.load(FIXTURES / "inputs.npz")["images"][:1]

    @jax.jit
    def run(parameters, pixels):
        model: Detector = nnx.merge(definition, nnx.State(parameters))
        found = model.stages(pixels)
        for progress in (0.0, 0.5, 1.0):
            model.at_progress(jnp.array(progress))
            found[f"logits_{progress}"] = model.logits(pixels)
        return found

    found = run(parameters, jnp.asarray(2 * images - 1, jnp.float32))
    assert found.keys() == expected.keys()
    for stage, wanted in expected.items():
        atol = TOLERANCE * np.abs(wanted).max()
        np.testing.assert_allclose(found[stage], wanted, rtol=0, atol=atol, err_msg=stage)


def test_the_published_depths_and_centre():
    model = nnx.eval_shape(lambda: Detector(Settings(), 224, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    assert model.depths == (6, 7, 12)  # the sixth block; the eighth to the twelfth
    rows, columns = np.nonzero(central_patches(14).reshape(14, 14))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 10, 3, 10)
    assert [central_patches(grid).sum() for grid in (2, 4, 8, 14, 24)] == [4, 4, 16, 64, 196]


def looped_distance(attention, fake, labels, constants):
    """Float64, pair by pair."""
    between, in_fake, in_real = constants
    distances = []
    for own, patches, label in zip(attention, fake, labels, strict=True):
        total, count = 0.0, len(own)
        for i in range(count):
            for j in range(count):
                if label == 0:
                    wanted = 1.0 if i == j else in_real
                elif patches[i] and patches[j]:
                    wanted = in_fake
                elif not patches[i] and not patches[j]:
                    wanted = in_real
                else:
                    wanted = between
                total += abs(1 / (1 + np.exp(-own[i, j])) - wanted)
        distances.append(total / (count**2 - count))
    return np.array(distances)


def test_consistency_and_its_gradients_are_those_of_plain_loops():
    rng = np.random.default_rng(0)
    attention = rng.normal(size=(4, 5, 5))
    fake, labels = rng.random((4, 5)) < 0.4, np.array([0, 1, 0, 1])
    constants = np.array([0.2, 0.55, 0.6])

    def ours(attention, constants):
        return consistency_distance(attention, jnp.asarray(fake), jnp.asarray(labels), constants)

    given = (jnp.asarray(attention, jnp.float32), jnp.asarray(constants, jnp.float32))
    expected = looped_distance(attention, fake, labels, constants)
    np.testing.assert_allclose(ours(*given), expected, rtol=1e-5)
    gradients = jax.grad(lambda *args: ours(*args).sum(), argnums=(0, 1))(*given)
    for number, found in enumerate(gradients):
        differences = np.zeros(found.shape)
        for place in np.ndindex(found.shape):
            sides = []
            for sign in (1, -1):
                moved = [attention.copy(), constants.copy()]
                moved[number][place] += sign * 1e-6
                sides.append(looped_distance(moved[0], fake, labels, moved[1]).sum())
            differences[place] = (sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose(found, differences, atol=1e-6)


@pytest.fixture(scope="module")
def losses():
    """The losses at a step of the run and the parameters with new statistics, compiled once."""
    definition, state = detector()
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 24, 24, 3)), jnp.float32)
    labels, seeds = jnp.array([0, 1, 0, 1]), jnp.zeros(4, jnp.uint32)

    @jax.jit
    def run(parameters, progress, weight):
        model: Detector = nnx.merge(definition, nnx.State(parameters))
        model.at_progress(progress)
        found = model.losses(images, labels, weight, seeds)
        return found, nnx.to_pure_dict(nnx.state(model, PARAMETERS))

    start = nnx.to_pure_dict(nnx.filter_state(state, PARAMETERS))

    def losses(parameters=start, progress=0.0, weight=(1, 1, 1, 1)):
        return run(parameters, jnp.array(progress), jnp.array(weight, jnp.float32))

    return losses


def test_attention_counts_behind_the_first_epoch(losses):
    found, parameters = losses()
    assert (found["consistency"] == 0).all()
    assert (found["constants"] == 0).all()
    found, _ = losses(parameters, 0.12)
    assert (found["consistency"] == 0).all()
    found, _ = losses(parameters, 0.125)
    assert (found["consistency"] > 0).all()
    np.testing.assert_allclose(found["constants"], 0.5 * 0.2 + 2 * 0.05 / 0.6, rtol=1e-6)
    found, _ = losses(progress=0.5)  # without any Gaussian
    assert (found["consistency"] == 0).all()


def test_gaussians_are_of_real_patches_and_of_central_fake_ones_of_images_that_were_read(losses):
    _, parameters = losses(weight=(1, 1, 0, 1))
    assert parameters["real"]["count"] == 16
    assert parameters["fake"]["count"] == 2 * 4
    _, same_window = losses(parameters, 0.06)
    assert same_window["real"]["count"] == 16 + 32
    assert (same_window["real"]["whitening"] == 0).all()
    _, next_window = losses(parameters, 0.0625)
    assert next_window["real"]["count"] == 32
    _, trained_further = losses(next_window, 0.0)
    assert trained_further["real"]["count"] == 32
    assert next_window["real"]["whitening"][0, 0] > 0


@pytest.mark.slow
def test_it_trains_resumes_bit_for_bit_and_is_evaluated(tmp_path, data, faces, caplog):
    flags = (*data, *SMALL, "data.methods=rows")
    workdir = tmp_path / "detect"
    assert jobs.start("detect:uia_vit", workdir, *flags) == 0
    assert "uia_vit starts from random weights" in caplog.text
    lines = [line for line in jobs.metric_lines(workdir) if line["split"] == "train"]
    assert [line["consistency"] > 0 for line in lines] == [False, True, True, True]
    arrays = stopped_and_resumed("detect:uia_vit", workdir, flags)
    assert arrays["['progress']"] == 0.75
    assert np.abs(arrays["['real']['whitening']"]).max() > 0
    tests = (f"detector={workdir}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path / "evaluate", *tests, "checkpoint=best:faces") == 0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("rival.size=huge",), "rival.size='huge' is not known; choose one of vit_b16"),
        (("model.image_size=50",), "model.image_size=50 is not a multiple of rival.patch_size=12"),
        (
            ("model.image_size=12",),
            "model.image_size=12 is not a multiple of rival.patch_size=12, ",
        ),
        (("rival.patch_size=0",), "model.image_size=48 is not a multiple of rival.patch_size=0"),
        (("detector.blocks=random",), "detector.backbone='uia_vit' reads whole original images"),
        (("detector.init=nowhere",), "detector.init=nowhere holds no checkpoint"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, data, capsys, flags, says):
    assert jobs.start("detect:uia_vit", tmp_path / "run", *data, *SMALL, *flags) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
