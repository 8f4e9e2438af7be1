"""UIA-ViT at full size and its gradients against PyTorch: random weights, nothing downloaded."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from rffr_jax.convert.importing import import_weights
from rffr_jax.models.abstract import PARAMETERS
from rffr_jax.models.gaussian import JITTER
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.rivals.uia_vit import Detector, Settings, central_patches

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
models = pytest.importorskip("tests.convert.pytorch_models")
uia_vit = pytest.importorskip("tests.rivals.pytorch_uia_vit")

pytestmark = pytest.mark.parity

TOLERANCE = 2e-5  # of each stage's largest value


def both(settings, image_size, middle, late, file):
    """PyTorch's model in float64, our definition, and our parameters with the same weights."""
    vit = models.timm_vit(ModelSettings(settings.size, image_size, settings.patch_size))
    theirs = uia_vit.UIAViT(vit, middle, late).eval()
    models.spread_weights(vit, seed=1)
    models.spread_weights(theirs.head, seed=2)
    safetensors_torch.save_file(vit.state_dict(), file)
    model = Detector(settings, image_size, dtype=jnp.float32, rngs=nnx.Rngs(0))
    definition, state = nnx.split(model)
    parameters = nnx.to_pure_dict(nnx.filter_state(state, PARAMETERS))
    kernel, bias = (parameter.detach().numpy() for parameter in theirs.head.parameters())
    parameters |= {
        "backbone": import_weights(file).parameters,
        "head": {"kernel": jnp.asarray(kernel.T), "bias": jnp.asarray(bias)},
    }
    return theirs.double(), definition, parameters


def pictures(batch, size):
    images = np.random.default_rng(0).uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)
    return jnp.asarray(images), torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float64))


def test_every_stage_is_that_of_pytorch(tmp_path):
    theirs, definition, parameters = both(
        Settings(), 224, 6, (8, 9, 10, 11, 12), tmp_path / "model.safetensors"
    )
    images, tensors = pictures(1, 224)

    @jax.jit
    def run(parameters, images):
        model: Detector = nnx.merge(definition, nnx.State(parameters))
        model.at_progress(jnp.array(0.6))
        return model.stages(images) | {"logits": model.logits(images)}

    found = run(parameters, images)
    with torch.no_grad():
        expected = theirs(tensors, 0.6)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        wanted = tensor.numpy()
        atol = TOLERANCE * np.abs(wanted).max()
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=atol, err_msg=name)


def test_gradients_of_the_whole_loss_are_those_of_pytorch(tmp_path):
    """Gaussians of the first pass say which patches look fake in the second."""
    theirs, definition, parameters = both(
        Settings("mini", 8), 64, 1, (2, 3), tmp_path / "model.safetensors"
    )
    images, tensors = pictures(6, 64)
    labels = np.array([0, 1, 0, 1, 0, 1])

    @jax.jit
    def run(parameters):
        def total(parameters, progress):
            model: Detector = nnx.merge(definition, nnx.State(parameters))
            model.at_progress(jnp.array(progress))
            given = (images, jnp.asarray(labels), jnp.ones(6), jnp.zeros(6, jnp.uint32))
            losses = model.losses(*given)
            features = model.stages(images)["features"]
            looks_fake = model.real.distance(features) > model.fake.distance(features)
            statistics = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
            return sum(part.mean() for part in losses.values()), (statistics, looks_fake)

        _, (statistics, _) = total(parameters, 0.0)
        return jax.value_and_grad(total, has_aux=True)({**parameters, **statistics}, 0.5)

    (value, (_, looks_fake)), gradients = run(parameters)
    found = theirs(tensors, 0.5)
    features = found["features"].detach().numpy()
    central = central_patches(8)
    distances = []
    for samples in (features[labels == 0], features[labels == 1][:, central]):
        gaussian = LedoitWolf().fit(samples.reshape(-1, 64))
        jitter = JITTER * np.trace(gaussian.covariance_) / 64
        precision = np.linalg.inv(gaussian.covariance_ + jitter * np.eye(64))
        one = [
            cdist(own, gaussian.location_[None], "mahalanobis", VI=precision) for own in features
        ]
        distances.append(np.concatenate(one, axis=1).T)
    expected_map = distances[0] > distances[1]
    np.testing.assert_array_equal(looks_fake, expected_map)
    loss = theirs.loss(found, labels, expected_map)
    loss.backward()
    np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
    vit, blocks = theirs.vit, gradients["backbone"]["transformer"]["blocks"]
    pairs = {
        "constants": (gradients["constants"], theirs.constants.grad),
        "head": (gradients["head"]["kernel"], theirs.head.weight.grad.T),
        "positions": (gradients["backbone"]["positions"], vit.pos_embed.grad[0]),
        "norm": (gradients["backbone"]["norm"]["scale"], vit.norm.weight.grad),
    }
    for number, block in enumerate(vit.blocks):
        for name, layer in (("qkv", block.attn.qkv), ("contract", block.mlp.fc2)):
            pairs[f"{name}{number}"] = (blocks[name]["kernel"][number], layer.weight.grad.T)
    for name, (ours, wanted) in pairs.items():
        wanted = wanted.numpy()
        atol = 1e-4 * np.abs(wanted).max()
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=atol, err_msg=name)
