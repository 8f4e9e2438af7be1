"""Xception and EfficientNet-B4 at full size against timm's: random weights, nothing downloaded."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.convert.backbones import BACKBONES
from rffr_jax.convert.importing import import_weights
from rffr_jax.models.abstract import abstract
from rffr_jax.models.sizes import EfficientNetSettings, XceptionSettings

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
models = pytest.importorskip("tests.convert.pytorch_models")

pytestmark = pytest.mark.parity

TOLERANCE = 2e-5  # of each stage's largest value, which is 1 to 6
CASES = {"xception": (XceptionSettings(), 299), "efficientnet": (EfficientNetSettings(), 380)}
FIRST = {"xception": ("stem1", "norm"), "efficientnet": ("stem", "norm")}


@pytest.fixture(scope="module", params=CASES)
def network(request, tmp_path_factory):
    """The kind, timm's model, how its stages are read, and our parameters."""
    import timm

    name = {"xception": "legacy_xception", "efficientnet": "tf_efficientnet_b4"}[request.param]
    model = timm.create_model(name, pretrained=False).eval()
    models.spread_weights(model, seed=1)
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    safetensors_torch.save_file(model.state_dict(), file)
    imported = import_weights(file)
    file.unlink()
    assert imported.about["network"] == request.param
    settings, _ = CASES[request.param]
    assert imported.about["model"] == dict(vars(settings))
    return request.param, model, getattr(models, f"{request.param}_stages"), imported.parameters


def ours(kind, parameters, images, training):
    settings, _ = CASES[kind]
    definition, _ = abstract(lambda rngs: BACKBONES[kind].build(settings, rngs))

    @jax.jit
    def run(parameters, images):
        model = nnx.merge(definition, nnx.State(parameters))
        stages = model.stages(images, training=training)
        return stages, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    return run(parameters, jnp.asarray(images))


def pictures(batch, size):
    return np.random.default_rng(0).uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)


def as_torch(images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def test_every_stage_is_that_of_timm(network):
    kind, model, stages_of, parameters = network
    images = pictures(1, CASES[kind][1])
    stages, _ = ours(kind, parameters, images, training=False)
    expected = stages_of(model.eval(), as_torch(images))
    assert stages.keys() == expected.keys()
    for name, array in expected.items():
        atol = TOLERANCE * max(1.0, np.abs(array).max())
        np.testing.assert_allclose(stages[name], array, rtol=0, atol=atol, err_msg=name)


def test_batch_statistics_are_those_of_timm(network):
    """PyTorch's running variance is the unbiased one. timm leaves EfficientNet's momentum at 0.1;
    Google's, and efficientnet_pytorch's, is 0.01."""
    kind, model, stages_of, parameters = network
    images = pictures(4, 96)
    _, statistics = ours(kind, parameters, images, training=True)
    norm = model.bn1
    before = norm.running_var.clone().numpy()
    norm.momentum = momentum = {"xception": 0.1, "efficientnet": 0.01}[kind]
    model.train()
    stages_of(model, as_torch(images))
    model.eval()
    stage, leaf = FIRST[kind]
    found = statistics[stage][leaf]
    np.testing.assert_allclose(found["mean"], norm.running_mean.numpy(), rtol=1e-4, atol=1e-5)
    after = norm.running_var.numpy()
    pixels = 4 * {"xception": 47, "efficientnet": 48}[kind] ** 2
    of_batch = (after - (1 - momentum) * before) * (pixels - 1) / pixels
    expected = (1 - momentum) * before + of_batch
    np.testing.assert_allclose(found["var"], expected, rtol=1e-4)
