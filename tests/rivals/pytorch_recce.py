"""RECCE in PyTorch, to compare with: the benchmark's, with reasoning place by place and losses pair
by pair; random weights.

    python -m tests.rivals.pytorch_recce

makes `fixtures/recce.npz`: a small model, its stages, losses and gradients, computed in float64.
Needs the extra `parity`.
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false

import itertools
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree
from torch import nn

from rffr_jax.convert import rules
from rffr_jax.convert.backbones import BACKBONES, COUNTERS
from rffr_jax.models.abstract import abstract
from rffr_jax.rivals.recce import Detector, Settings
from scripts.benchmark.peer_recce import CHANNELS, Gathering, Reasoning, Recce
from tests.convert import pytorch_models as models

FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "recce.npz"
WIDTH, MIDDLE_BLOCKS, SIDE = 1 / 32, 2, 40
FLOOD = 0.04


class PlaceGathering(Gathering):
    def forward(self, place, own, neighbours):
        """Of one place: [batch, code], [batch, wanted], [batch, neighbours, given]."""
        there = self.embedding(neighbours)
        joined = torch.cat([own[:, None].expand(-1, there.shape[1], -1), there], dim=2)
        kernel = torch.cat([self.of_place.weight, self.of_neighbour.weight], dim=1)
        weights = (joined @ kernel.T).relu().softmax(dim=1)
        return (weights * there).sum(dim=1) * (1 - self.gate(place).sigmoid())


class PlaceReasoning(Reasoning):
    gathering = PlaceGathering

    def forward(self, encoded, coarse, fine):
        """Place by place."""
        found = torch.zeros_like(encoded)
        for row, column in itertools.product(range(encoded.shape[2]), range(encoded.shape[3])):
            place = encoded[:, :, row, column]
            own, gathered = self.own(place), []
            for side, maps, gathering in (
                (2, coarse, self.from_coarse),
                (4, fine, self.from_fine),
            ):
                top, left = side * row, side * column
                window = maps[:, :, top : top + side, left : left + side]
                gathered.append(gathering(place, own, window.flatten(2).transpose(1, 2)))
            joined = torch.cat([*gathered, own], dim=1).sigmoid()
            found[:, :, row, column] = self.back(joined)
        return found


def losses(found: dict[str, torch.Tensor], images, labels) -> dict[str, torch.Tensor]:
    """Pair by pair, with the published weights."""
    entropy = F.binary_cross_entropy_with_logits(found["fake"], labels.to(images.dtype))
    reals = [i for i, label in enumerate(labels) if label == 0]
    fakes = [i for i, label in enumerate(labels) if label == 1]
    errors = [(found["reconstruction"][i] - images[i]).abs().mean() for i in reals]
    apart = torch.zeros((), dtype=images.dtype)
    for name in ("code", "coarse", "fine"):
        means = found[name].mean(dim=(2, 3))

        def mean_similarity(pairs, means=means):
            cosines = [F.cosine_similarity(means[i], means[j], dim=0) for i, j in pairs]
            return sum((1 + cosine) / 2 for cosine in cosines) / len(cosines)

        alike = mean_similarity(list(itertools.permutations(reals, 2)))
        apart = apart + 1 - alike + mean_similarity(list(itertools.product(reals, fakes)))
    return {
        "loss": (entropy - FLOOD).abs() + FLOOD,
        "reconstruction_loss": 0.1 * sum(errors) / len(errors),
        "similarity_loss": 0.1 * apart,
    }


def random_model(backbone: nn.Module, width: float, middle_blocks: int, seed: int) -> Recce:
    """With random weights everywhere but in the backbone's classifier, which is not read."""
    model = Recce(backbone, width, middle_blocks, random=False)
    model.reasoning = PlaceReasoning(*(max(1, round(width * n)) for n in CHANNELS[:3]))
    model.backbone.fc = nn.Identity()
    models.spread_weights(model, seed)
    return model.eval()


def to_ours(arrays: Mapping[str, torch.Tensor], settings: Settings) -> PyTree:
    """Arrays under the names of a `Recce` as our tree, float32."""

    def build(rngs: nnx.Rngs) -> Detector:
        return Detector(settings, 299, dtype=jnp.float32, rngs=rngs)

    tree = abstract(build)[1]
    backbone = {
        name.removeprefix("backbone."): array.numpy()
        for name, array in arrays.items()
        if name.startswith("backbone.") and not name.endswith(COUNTERS)
    }
    table = BACKBONES["xception"].table(settings, backbone)
    found, _ = rules.to_ours(backbone, table, tree.pop("backbone"), "backbone")

    def own(path, leaf):
        *modules, kind = [str(entry.key) for entry in path]
        theirs = {"kernel": "weight", "scale": "weight", "mean": "running_mean"}
        theirs |= {"var": "running_var"}
        name = ".".join([*(m for m in modules if m != "layers"), theirs.get(kind, kind)])
        array = arrays[name].numpy().astype(np.float32)
        if kind == "kernel":
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        return array.reshape(leaf.shape)

    return {"backbone": found, **jax.tree_util.tree_map_with_path(own, tree)}


def channels_last(found: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Stages of a `Recce` as ours."""
    arrays = {name: tensor.detach().numpy() for name, tensor in found.items()}
    return {n: a.transpose(0, 2, 3, 1) if a.ndim == 4 else a for n, a in arrays.items()}


def main():
    settings = Settings(WIDTH, MIDDLE_BLOCKS)
    model = random_model(models.SmallXception(WIDTH, MIDDLE_BLOCKS, 1), WIDTH, MIDDLE_BLOCKS, 8)
    model.double()
    images = np.random.default_rng(0).uniform(-1, 1, (4, SIDE, SIDE, 3)).astype(np.float16)
    labels = torch.tensor([0, 1, 0, 1])
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float64))
    parameters = to_ours(model.state_dict(), settings)
    with torch.no_grad():
        stages = channels_last(model(pixels))
    found = losses(model.train()(pixels), pixels, labels)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in model.named_buffers()}
    weights = dict(model.named_parameters())
    arrays = {"images": images, "labels": labels.numpy()}
    arrays |= {f"loss/{name}": loss.detach().numpy() for name, loss in found.items()}
    arrays |= {f"stage/{name}": array.astype(np.float32) for name, array in stages.items()}
    arrays["parameters"] = ravel_pytree(parameters)[0]
    for name, loss in found.items():
        each = torch.autograd.grad(
            loss, list(weights.values()), retain_graph=True, materialize_grads=True
        )
        gradients = zeros | dict(zip(weights, each, strict=True))
        arrays[f"gradient/{name}"] = ravel_pytree(to_ours(gradients, settings))[0]
    FIXTURE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FIXTURE, **arrays)


if __name__ == "__main__":
    main()
