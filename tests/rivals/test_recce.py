"""RECCE against a small PyTorch model's stages, losses and gradients; its trainings as jobs.

`pytorch_recce.py` made the model and the numbers, in float64.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict
from PIL import Image

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.data.specs import load_dataset
from rffr_jax.experiments.galleries import draw_gallery
from rffr_jax.models.abstract import abstract
from rffr_jax.models.recce import resized
from rffr_jax.reports.contact_sheet import FONT_SIZE, GAP
from rffr_jax.rivals import dropout, recce
from rffr_jax.rivals.recce import Detector, Settings
from tests import jobs
from tests.training.test_ablations import stopped_and_resumed

FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "recce.npz"
TOLERANCE = 2e-5  # of a stage's largest value
GRADIENT_TOLERANCE = 5e-5  # of an array's norm
SMALL = ("rival.width=0.0625", "rival.middle_blocks=1")


def stages(model, images):
    found = model.forward(images, training=False)
    named = dict(zip(("code", "coarse", "fine"), found.maps, strict=True))
    return named | {name: part for name, part in found._asdict().items() if name != "maps"}


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        atol = TOLERANCE * np.abs(array).max()
        np.testing.assert_allclose(found[name], array, rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def golden():
    """The fixture's arrays, and the definition and parameters of its model."""
    arrays = dict(np.load(FIXTURE))
    settings = Settings(1 / 32, 2)
    definition, shapes = abstract(lambda r: Detector(settings, 40, dtype=jnp.float32, rngs=r))
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes))
    return arrays, definition, unravel


def part(arrays, name):
    return {n.removeprefix(name): a for n, a in arrays.items() if n.startswith(name)}


def test_every_stage_is_that_of_pytorch(golden):
    arrays, definition, unravel = golden

    @jax.jit
    def run(parameters, images):
        return stages(nnx.merge(definition, nnx.State(unravel(parameters))), images)

    found = run(arrays["parameters"], jnp.asarray(arrays["images"], jnp.float32))
    assert_close(found, part(arrays, "stage/"))


def test_losses_and_their_gradients_are_those_of_pytorch(golden, monkeypatch):
    """Without noise and dropout, by the batch's statistics; each array of each loss."""
    monkeypatch.setattr(recce, "DROPOUT", 0.0)
    monkeypatch.setattr(recce, "NOISE", 0.0)
    arrays, definition, unravel = golden
    images, labels = jnp.asarray(arrays["images"], jnp.float32), jnp.asarray(arrays["labels"])

    def means(parameters):
        model = nnx.merge(definition, nnx.State(unravel(parameters)))
        found = model.losses(images, labels, jnp.ones(4), jnp.arange(4, dtype=jnp.uint32))
        found = jax.tree.map(jnp.mean, found)
        return found, found

    gradients, values = jax.jit(jax.jacrev(means, has_aux=True))(arrays["parameters"])
    for name, expected in part(arrays, "loss/").items():
        np.testing.assert_allclose(values[name], expected, rtol=1e-5, err_msg=name)
        ours, theirs = (
            dict(jax.tree.leaves_with_path(unravel(gradient)))
            for gradient in (gradients[name], arrays[f"gradient/{name}"])
        )
        smallest = 1e-5 * np.linalg.norm(arrays[f"gradient/{name}"])  # of what should be 0
        for path, leaf in theirs.items():
            difference = np.linalg.norm(ours[path] - leaf)
            where = f"{name} {jax.tree_util.keystr(path)}"
            assert difference < GRADIENT_TOLERANCE * np.linalg.norm(leaf) + smallest, where


def test_an_image_that_could_not_be_read_changes_nothing(golden):
    """Neither losses nor running statistics."""
    arrays, definition, unravel = golden
    images = jnp.asarray(np.concatenate([arrays["images"], -arrays["images"][:2]]), jnp.float32)

    @jax.jit
    def run(images):
        model = nnx.merge(definition, nnx.State(unravel(arrays["parameters"])))
        weight, seeds = jnp.asarray(WEIGHT), jnp.arange(6, dtype=jnp.uint32)
        found = model.losses(images, jnp.asarray(LABELS), weight, seeds)
        return found, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    found = run(images)
    jax.tree.map(np.testing.assert_array_equal, found, run(images.at[2].set(0.0)))
    losses, statistics = found
    assert all(np.isfinite(part).all() for part in losses.values())
    assert len(jax.tree.leaves(statistics)) > 10


# ---- losses

LABELS = np.array([0, 1, 0, 0, 1, 0])
WEIGHT = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
"""Image 2 could not be read."""


def reference(name, values):
    """A loss in float64, by its definition, with a loop over images or pairs that count."""
    reals = [i for i in range(6) if WEIGHT[i] and not LABELS[i]]
    fakes = [i for i in range(6) if WEIGHT[i] and LABELS[i]]
    if name == "flooded":
        signs = np.where(LABELS, 1, -1)
        entropy = [np.log1p(np.exp(-signs[i] * values[i])) for i in reals + fakes]
        return abs(np.mean(entropy) - 0.04) + 0.04
    if name == "reconstruction":
        return np.mean([np.abs(values[i] - PICTURES[i]).mean() for i in reals])
    means = values.mean(axis=(1, 2))

    def similarity(i, j):
        lengths = np.linalg.norm(means[i]) * np.linalg.norm(means[j])
        return (1 + means[i] @ means[j] / lengths) / 2

    alike = np.mean([similarity(i, j) for i in reals for j in reals if i != j])
    return 1 - alike + np.mean([similarity(i, j) for i in reals for j in fakes])


PICTURES = np.random.default_rng(2).uniform(-1, 1, (6, 2, 2, 3))


def ours(name, values):
    reals, fakes = jnp.asarray(WEIGHT * (LABELS == 0)), jnp.asarray(WEIGHT * LABELS)
    if name == "flooded":
        return recce.flooded_cross_entropy(values, jnp.asarray(LABELS), jnp.asarray(WEIGHT))
    if name == "reconstruction":
        return recce.reconstruction_loss(values, jnp.asarray(PICTURES), reals)
    return recce.similarity_loss(values, reals, fakes)


@pytest.mark.parametrize(
    ("name", "shape", "scale"),
    [
        ("flooded", (6,), 1.0),
        ("flooded", (6,), 0.0),  # and 4 from the right side: below the flood level
        ("reconstruction", (6, 2, 2, 3), 1.0),
        ("similarity", (6, 2, 3, 4), 1.0),
    ],
)
def test_values_and_gradients_of_losses_are_those_of_loops(name, shape, scale):
    """Central differences in float64."""
    values = np.random.default_rng(1).normal(size=shape)
    if not scale:
        values = 4.0 * np.where(LABELS, 1, -1) + 0.1 * values
    found, gradient = jax.value_and_grad(lambda v: ours(name, v))(jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(found, reference(name, values), rtol=1e-5)
    expected = np.zeros(shape)
    for place in np.ndindex(shape):
        step = np.zeros(shape)
        step[place] = 1e-6
        both = reference(name, values + step) - reference(name, values - step)
        expected[place] = both / 2e-6
    np.testing.assert_allclose(gradient, expected, atol=2e-5 * np.abs(expected).max())
    assert np.abs(gradient[2]).max() == 0


def test_a_batch_without_reals_or_without_anything_has_finite_losses():
    fakes, nothing = jnp.ones(4), jnp.zeros(4)
    features = jnp.zeros((4, 1, 1, 2))
    for reals, others in ((nothing, fakes), (nothing, nothing), (fakes, nothing)):
        run = jax.value_and_grad(lambda x, r=reals, f=others: recce.similarity_loss(x, r, f))
        value, gradient = run(features)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    images = jnp.ones((4, 2, 2, 3))
    assert recce.reconstruction_loss(images, -images, nothing) == 0


# ---- chance


def test_dropout_depends_on_the_image_and_the_place_and_keeps_the_mean():
    keys = jax.vmap(jax.random.key)(jnp.array([3, 3, 4], jnp.uint32))
    x = jnp.ones((3, 50, 50))
    once, again, elsewhere = (np.asarray(dropout(x, keys, n, 0.2)) for n in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once[0], once[1])
    assert (once[0] != once[2]).any()
    assert (once != elsewhere).any()
    assert set(np.unique(once)) == {0.0, np.float32(1.25)}
    assert 0.17 < (once == 0).mean() < 0.23
    assert dropout(x, None, 0, 0.2) is x


def test_noise_is_on_some_images_small_and_clipped(monkeypatch):
    monkeypatch.setattr(recce, "NOISE", 1e-2)
    keys = jax.vmap(jax.random.key)(jnp.arange(40, dtype=jnp.uint32))
    images = jnp.zeros((40, 8, 8, 3)).at[:, 0].set(1.0)
    noise = np.asarray(recce._with_noise(images, keys)) - images
    noisy = np.abs(noise).max(axis=(1, 2, 3)) > 0
    assert 8 < noisy.sum() < 32
    assert 0.009 < noise[noisy, 1:].std() < 0.011
    assert noise[:, 0].max() == 0
    np.testing.assert_array_equal(recce._with_noise(images, None), images)


@pytest.mark.parametrize(("old", "new"), [(5, 9), (9, 4), (4, 4)])
def test_resizing_puts_corners_on_corners(old, new):
    """A plane stays one, and between pixels nothing else counts."""
    plane = jnp.arange(old, dtype=jnp.float32)[None, :, None, None] * jnp.ones((1, 1, old, 1))
    found = resized(plane, (new, new))[0, :, :, 0]
    expected = np.linspace(0, old - 1, new)[:, None] * np.ones((1, new))
    np.testing.assert_allclose(found, expected, atol=1e-5)


# ---- jobs


@pytest.mark.slow
def test_it_trains_resumes_bit_for_bit_and_is_evaluated(tmp_path, data, faces, mae):
    flags = (*data, *SMALL, "data.methods=rows", "model.image_size=40")
    workdir = tmp_path / "detect"
    assert jobs.start("detect:recce", workdir, *flags) == 0
    lines = [line for line in jobs.metric_lines(workdir) if line["split"] == "train"]
    assert all(0 < line["reconstruction_loss"] < 0.2 for line in lines)
    assert all(0 < line["similarity_loss"] < 0.6 for line in lines)
    stopped_and_resumed("detect:recce", workdir, flags)
    tests = (f"detector={workdir}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path / "evaluate", *tests, "checkpoint=best:faces") == 0
    look_at_its_reconstructions(workdir, tmp_path, faces, mae)


def look_at_its_reconstructions(workdir, folder, faces, mae):
    """The residual is 4 times the difference; the picture has the size of the last autoencoder."""
    inputs = (f"mae={workdir}", f"data.inputs=csv:{faces}/test.csv")
    assert jobs.start("residual", folder / "residual", *inputs) == 0
    found = np.load(folder / "residual" / "residuals.npz")
    assert found["inpainted"].shape == (18, 40, 40, 3)
    assert np.abs(found["inpainted"] - 0.5).max() <= 0.5
    expected = np.clip(4 * (found["inpainted"] - found["image"]), -1, 1)
    np.testing.assert_allclose(found["residual"], expected, atol=1e-5)
    settings = {
        "batch_size": 4,
        "dtype": "float32",
        "data": {"workers": 0, "max_bad_fraction": 0.0},
    }
    shown = load_dataset([f"csv:{faces}/test.csv"])
    png = draw_gallery(
        folder / "fig4", shown, {"RECCE": workdir, "MAE": mae}, make_mesh(), ConfigDict(settings)
    )
    side = 4 * jobs.SIZE  # each pixel is a square
    top = FONT_SIZE + 2 * GAP + side + GAP  # below the originals
    with Image.open(png) as sheet:
        last_of_recce = np.asarray(sheet)[top : top + side, -GAP - side : -GAP]
    assert len(np.unique(last_of_recce.reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("rival.middle_blocks=0",), "rival.middle_blocks=0: RECCE's decoder begins behind"),
        (("rival.width=-1.0",), "rival.width=-1.0 must be above 0"),
        (("model.image_size=31",), "model.image_size=31 is too small for Xception"),
        (("detector.inputs=both",), "detector.backbone='recce' reads whole original images"),
        (("micro_batches=2",), "micro_batches=2 would change the losses of detector.backbone='re"),
        (("optimizer.halve_every=-1",), "optimizer.halve_every=-1 is a number of steps"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, data, capsys, flags, says):
    assert jobs.start("detect:recce", tmp_path / "run", *data, *SMALL, *flags) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
