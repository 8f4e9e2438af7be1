"""Xception against plain NumPy, stage by stage; its batch statistics; its parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.errors import UserError
from rffr_jax.models.abstract import abstract
from rffr_jax.models.sizes import XceptionSettings
from rffr_jax.models.xception import Xception

SMALL = XceptionSettings(width=1 / 16, middle_blocks=1)
SIDE = 40


def conv(x, kernel, stride=1, padding=0):
    """Sum over the kernel's places, float64; a depthwise kernel has one input channel."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    side = len(kernel)
    height, width = ((n - side) // stride + 1 for n in x.shape[1:3])
    total = 0.0
    for i in range(side):
        for j in range(side):
            seen = x[:, i : i + stride * height : stride, j : j + stride * width : stride]
            depthwise = kernel.shape[2] == 1
            total = total + (seen * kernel[i, j, 0] if depthwise else seen @ kernel[i, j])
    return total


class Reference:
    """Chollet's Figure 5, written down in float64; `new` collects the running statistics."""

    def __init__(self, parameters, training, counted=(0, 1, 2, 3)):
        self.parameters = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters)
        self.training, self.counted, self.new = training, list(counted), {}

    def norm(self, x, name, weights):
        mean, var = weights["mean"], weights["var"]
        if self.training:
            batch = x[self.counted].reshape(-1, x.shape[-1])
            self.new[name] = (
                0.9 * mean + 0.1 * batch.mean(axis=0),
                0.9 * var + 0.1 * batch.var(axis=0),
            )
            mean, var = batch.mean(axis=0), batch.var(axis=0)
        return (x - mean) / np.sqrt(var + 1e-5) * weights["scale"] + weights["bias"]

    def plain(self, x, name, weights, stride):
        return self.norm(conv(x, weights["convolution"]["kernel"], stride), name, weights["norm"])

    def separable(self, x, name, weights):
        x = conv(x, weights["depthwise"]["kernel"], padding=1)
        return self.norm(conv(x, weights["pointwise"]["kernel"]), name, weights["norm"])

    def block(self, x, name, weights, stride=2, first_relu=True):
        shortcut = x
        if stride == 2:
            shortcut = self.plain(x, f"{name}.shortcut", weights["shortcut"], 2)
        for number, (layer, own) in enumerate(sorted(weights["convolutions"].items())):
            x = self.separable(
                np.maximum(x, 0) if number or first_relu else x, f"{name}.{layer}", own
            )
        if stride == 2:
            x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
            windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
            x = windows[:, ::2, ::2].max(axis=(-2, -1))
        return x + shortcut

    def __call__(self, x):
        p, found = self.parameters, {}
        found["stem1"] = x = np.maximum(self.plain(x, "stem1", p["stem1"], 2), 0)
        found["stem2"] = x = np.maximum(self.plain(x, "stem2", p["stem2"], 1), 0)
        found["entry1"] = x = self.block(x, "entry1", p["entry1"], first_relu=False)
        for name in ("entry2", "entry3"):
            found[name] = x = self.block(x, name, p[name])
        found["middle0"] = x = self.block(x, "middle0", p["middle"]["middle0"], stride=1)
        found["exit1"] = x = self.block(x, "exit1", p["exit1"])
        for name in ("exit2", "exit3"):
            found[name] = x = np.maximum(self.separable(x, name, p[name]), 0)
        return found


@pytest.fixture(scope="module")
def model():
    """Random parameters, statistics and biases too."""
    definition, shapes = abstract(lambda rngs: Xception(SMALL, SIDE, dtype=jnp.float32, rngs=rngs))
    rng = np.random.default_rng(0)

    def random(path, leaf):
        if leaf.ndim > 1:
            values = rng.normal(size=leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5
        elif path[-1].key in ("scale", "var"):
            values = rng.uniform(0.5, 1.5, leaf.shape)
        else:
            values = rng.normal(size=leaf.shape) * 0.1
        return jnp.asarray(values, jnp.float32)

    return definition, jax.tree_util.tree_map_with_path(random, shapes)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(4, SIDE, SIDE, 3)).astype(np.float32)


def run(model, images, **options):
    definition, parameters = model
    merged = nnx.merge(definition, nnx.State(parameters))
    stages = merged.stages(jnp.asarray(images), **options)
    return stages, nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat))


def assert_close(found, expected, tolerance):
    """Every stage, to a share of its largest value."""
    assert found.keys() == expected.keys()
    for stage, wanted in expected.items():
        atol = tolerance * np.abs(wanted).max()
        np.testing.assert_allclose(found[stage], wanted, atol=atol, err_msg=stage)


def test_a_test_uses_the_running_statistics(model, images):
    found, statistics = jax.jit(lambda images: run(model, images, training=False))(images)
    expected = Reference(model[1], training=False)(images)
    assert_close(found, expected, 2e-5)
    np.testing.assert_array_equal(
        statistics["stem1"]["norm"]["mean"], model[1]["stem1"]["norm"]["mean"]
    )


@pytest.mark.parametrize(
    ("weight", "counted"),
    [([1.0, 1.0, 1.0, 1.0], [0, 1, 2, 3]), ([1.0, 0.0, 1.0, 1.0], [0, 2, 3]), ([0.0] * 4, [0, 1])],
)
def test_training_normalises_by_the_rows_that_count(model, images, weight, counted):
    if not any(weight):
        counted = [0, 1, 2, 3]
    found, statistics = jax.jit(
        lambda images, weight: run(model, images, training=True, weight=weight)
    )(images, jnp.array(weight))
    reference = Reference(model[1], training=True, counted=counted)
    expected = reference(images)
    assert_close(found, expected, 2e-3)
    assert len(reference.new) == len(jax.tree.leaves(statistics)) // 2
    for name, norm in (
        ("stem1", statistics["stem1"]["norm"]),
        ("entry2.shortcut", statistics["entry2"]["shortcut"]["norm"]),
        ("exit3", statistics["exit3"]["norm"]),
    ):
        for value, wanted in zip((norm["mean"], norm["var"]), reference.new[name], strict=True):
            np.testing.assert_allclose(value, wanted, rtol=2e-3, atol=2e-3)


def test_the_original_has_its_parameters():
    """22,910,480 in Keras with its 1000 classes, running statistics included."""
    settings = XceptionSettings(width=1.0, middle_blocks=8)
    _, parameters = abstract(lambda rngs: Xception(settings, 299, dtype=jnp.float32, rngs=rngs))
    total = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    assert total == 22_910_480 - 1000 * (2048 + 1)


def test_settings_that_make_no_network_are_refused():
    with pytest.raises(UserError, match=r"rival.width=0.0 must be above 0"):
        XceptionSettings(0.0, 8)
    with pytest.raises(UserError, match=r"rival.middle_blocks=-1 must not be negative"):
        XceptionSettings(1.0, -1)


def test_an_image_that_is_too_small_is_refused():
    with pytest.raises(UserError, match=r"model.image_size=31 is too small for Xception"):
        abstract(lambda rngs: Xception(SMALL, 31, dtype=jnp.float32, rngs=rngs))


def test_statistics_are_in_the_tree_of_parameters():
    definition, tree = abstract(lambda rngs: Xception(SMALL, SIDE, dtype=jnp.bfloat16, rngs=rngs))
    assert tree["exit3"]["norm"].keys() == {"bias", "mean", "scale", "var"}
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}
    images = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    features = jax.eval_shape(
        lambda tree, images: nnx.merge(definition, nnx.State(tree))(images, training=False),
        tree,
        images,
    )
    assert (features.shape, features.dtype) == ((1, 2, 2, 128), jnp.bfloat16)
