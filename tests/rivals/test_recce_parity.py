"""RECCE at full size against the PyTorch model of `pytorch_recce.py`: random weights."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rffr_jax.models.abstract import abstract
from rffr_jax.rivals.recce import Detector, Settings
from tests.rivals.test_recce import assert_close, stages

torch = pytest.importorskip("torch")
peer = pytest.importorskip("tests.rivals.pytorch_recce")
benchmark = pytest.importorskip("scripts.benchmark.peer_recce")

pytestmark = pytest.mark.parity


def test_every_stage_is_that_of_pytorch():
    import timm

    backbone = timm.create_model("legacy_xception", pretrained=False)
    model = peer.random_model(backbone, 1.0, 8, seed=1)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 299, 299, 3)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    settings = Settings()
    definition, _ = abstract(lambda r: Detector(settings, 299, dtype=jnp.float32, rngs=r))

    @jax.jit
    def run(parameters, images):
        return stages(nnx.merge(definition, nnx.State(parameters)), images)

    found = run(peer.to_ours(model.state_dict(), settings), jnp.asarray(images))
    assert found["code"].shape == (1, 19, 19, 728)
    assert found["fine"].shape == (1, 76, 76, 128)
    assert_close(found, peer.channels_last(expected))


def test_the_benchmark_reasons_and_loses_as_the_reference():
    torch.manual_seed(3)
    code, coarse, fine = 5, 4, 3
    reasoning = benchmark.Reasoning(code, coarse, fine).double()
    by_place = peer.PlaceReasoning(code, coarse, fine).double()
    by_place.load_state_dict(reasoning.state_dict())
    maps = [
        torch.randn(2, c, s * 3, s * 2).double() for c, s in ((code, 1), (coarse, 2), (fine, 4))
    ]
    torch.testing.assert_close(reasoning(*maps), by_place(*maps))

    images, labels = torch.rand(5, 3, 8, 8), torch.tensor([0, 1, 0, 1, 0])
    found = {name: torch.randn(5, 6, 4, 4) for name in ("code", "coarse", "fine")}
    found |= {"reconstruction": torch.rand(5, 3, 8, 8), "fake": torch.randn(5)}
    expected = sum(peer.losses(found, images, labels).values())
    torch.testing.assert_close(benchmark.batch_losses(found, images, labels), expected)
