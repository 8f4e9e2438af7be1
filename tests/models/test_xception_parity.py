"""Xception at full size against timm's: random weights, nothing downloaded."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.models.abstract import abstract
from rffr_jax.models.sizes import XceptionSettings
from rffr_jax.models.xception import Xception

torch = pytest.importorskip("torch")
pytest.importorskip("tests.convert.pytorch_models")  # makes timm importable

pytestmark = pytest.mark.parity

FULL = XceptionSettings(width=1.0, middle_blocks=8)
BATCH, SIDE = 4, 96


def array(tensor):
    return tensor.detach().numpy()


def kernel(convolution):
    return {"kernel": array(convolution.weight).transpose(2, 3, 1, 0)}


def norm(layer):
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return {ours: array(getattr(layer, theirs)) for ours, theirs in names.items()}


def plain(convolution, layer):
    return {"convolution": kernel(convolution), "norm": norm(layer)}


def separable(convolution, layer):
    return {
        "depthwise": kernel(convolution.conv1),
        "pointwise": kernel(convolution.pointwise),
        "norm": norm(layer),
    }


def block(theirs):
    layers = [layer for layer in theirs.rep if isinstance(layer, torch.nn.BatchNorm2d)]
    convolutions = [layer for layer in theirs.rep if hasattr(layer, "pointwise")]
    ours = {
        "convolutions": {
            f"convolution{n}": separable(*both)
            for n, both in enumerate(zip(convolutions, layers, strict=True))
        }
    }
    if theirs.skip is not None:
        ours["shortcut"] = plain(theirs.skip, theirs.skipbn)
    return ours


def taken_over(theirs):
    """The tree of our parameters with timm's values, copied."""
    tree = {
        "stem1": plain(theirs.conv1, theirs.bn1),
        "stem2": plain(theirs.conv2, theirs.bn2),
        **{f"entry{n}": block(getattr(theirs, f"block{n}")) for n in (1, 2, 3)},
        "middle": {f"middle{n}": block(getattr(theirs, f"block{n + 4}")) for n in range(8)},
        "exit1": block(theirs.block12),
        "exit2": separable(theirs.conv3, theirs.bn3),
        "exit3": separable(theirs.conv4, theirs.bn4),
        "head": {"kernel": array(theirs.fc.weight).T, "bias": array(theirs.fc.bias)},
    }
    return jax.tree.map(jnp.array, tree)


def images():
    return np.random.default_rng(0).normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)


def run(model):
    with torch.no_grad():
        return array(model(torch.from_numpy(images().transpose(0, 3, 1, 2).copy())))


@pytest.fixture(scope="module")
def timm_model():
    """Random weights, and running statistics of images like those that it is tried on."""
    from timm.models.xception import Xception as Theirs

    torch.manual_seed(0)
    model = Theirs(num_classes=2)
    norms = torch.nn.BatchNorm2d
    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, norms)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.normal_(0, 0.1)
            layer.momentum = 1.0
        run(model.train())
        for layer in layers:
            layer.momentum = 0.1
            layer.running_var *= 1.2
    return model


@pytest.mark.parametrize("training", [False, True])
def test_logits_and_statistics_are_those_of_timm(timm_model, training):
    definition, shapes = abstract(lambda rngs: Xception(FULL, dtype=jnp.float32, rngs=rngs))
    parameters = taken_over(timm_model)
    assert jax.tree.map(jnp.shape, parameters) == jax.tree.map(lambda leaf: leaf.shape, shapes)

    @jax.jit
    def ours(parameters, images):
        model = nnx.merge(definition, nnx.State(parameters))
        logits = model(images, training=training)
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    found, statistics = ours(parameters, images())
    expected = run(timm_model.train(training))
    spread = (expected.max(axis=0) - expected.min(axis=0)).min()
    assert spread > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-2 * spread)
    after = taken_over(timm_model)
    for name, batch in (("stem1", BATCH * 47**2), ("exit2", BATCH * 3**2)):
        mean, var = (statistics[name]["norm"][part] for part in ("mean", "var"))
        np.testing.assert_allclose(mean, after[name]["norm"]["mean"], rtol=2e-3, atol=2e-4)
        old, new = parameters[name]["norm"]["var"], after[name]["norm"]["var"]
        if training:  # PyTorch's running variance is the unbiased one
            new = 0.9 * old + (new - 0.9 * old) * (batch - 1) / batch
        np.testing.assert_allclose(var, new, rtol=5e-3)
