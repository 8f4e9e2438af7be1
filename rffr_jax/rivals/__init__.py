"""Detectors of other papers, to compare with: a file each, found by its name.

A rival is a module of this package with three entries (docs/adding_a_detector.md shows one):

  Settings   a frozen dataclass, the numbers that fix its shapes: the config section `rival`
  CONFIG     how its paper trains it, as changes in configs/detect.py
  Detector   a `Rival` that `Detector(settings, image_size, dtype=..., rngs=...)` makes

Nothing else knows its name.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, UInt32

from rffr_jax.errors import UserError

VIT = "vit"
"""The backbone that is no rival: the two-branch detector."""


class Rival(nnx.Module):
    """A detector that reads whole images, normalised by `detector.mean` and `detector.std`.

    What follows the batch instead of a gradient, such as running statistics, is in variables of
    type `nnx.BatchStat`. With several devices a batch is the global one.

    Attributes:
      loss_names: the parts of `losses`, as they are logged.
      starts_from: the converted network (docs/weights.md) whose weights `detector.init` puts in
        place of `self.backbone`, or `vit`; '' for none.
      reconstructs: whether it has `reconstructed`.
      losses_of_batch: whether `losses` are of the whole batch, such as of pairs of its images, and
        not a sum over images; then `micro_batches` above 1 is refused.
    """

    loss_names: ClassVar[tuple[str, ...]] = ("loss",)
    starts_from: ClassVar[str] = ""
    reconstructs: ClassVar[bool] = False
    losses_of_batch: ClassVar[bool] = False

    def logits(self, images: Float[Array, "batch size size 3"]) -> Float[Array, "batch 2"]:
        """Real and fake, float32, as they are tested."""
        raise NotImplementedError

    def reconstructed(
        self, images: Float[Array, "batch size size 3"]
    ) -> Float[Array, "batch size size 3"]:
        """Images as it reconstructs them in a test, normalised like those that it reads."""
        raise NotImplementedError

    def at_progress(self, progress: Float[Array, ""]):
        """Called in training before `losses`, for schedules; a rival without any needs none.

        Args:
          progress: the share of the run that lies behind, in [0, 1).
        """

    def losses(
        self,
        images: Float[Array, "batch size size 3"],
        labels: Int[Array, " batch"],
        weight: Float[Array, " batch"],
        seeds: UInt32[Array, " batch"],
    ) -> Mapping[str, Float[Array, " batch"]]:
        """The parts of each image's loss in training; their sum over images is minimised.

        Args:
          labels: 0 is real, 1 is fake.
          weight: 0 for an image that could not be read, whose loss does not count.
          seeds: of whatever is random about an image at this step.
        """
        raise NotImplementedError


def cross_entropy(
    logits: Float[Array, "batch 2"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Minus the log of the softmax of each image's label."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def dropout(
    x: Float[Array, "batch ..."], keys: Key[Array, " batch"] | None, place: int, rate: float
) -> Float[Array, "batch ..."]:
    """`x` with a share `rate` of its values 0, and the others 1 / (1 - rate) times as large.

    Args:
      keys: of each image; None drops nothing.
      place: a number of its own for each use of the keys.
    """
    if keys is None:
        return x
    kept = jax.vmap(
        lambda key: jax.random.bernoulli(jax.random.fold_in(key, place), 1 - rate, x.shape[1:])
    )(keys)
    return jnp.where(kept, x / (1 - rate), 0)


def rival_names() -> list[str]:
    """The rivals that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find_rival(name: str) -> ModuleType:
    """The module of a rival.

    Raises:
      UserError: there is none of this name.
    """
    if name not in rival_names():
        known = ", ".join((VIT, *rival_names()))
        raise UserError(f"detector.backbone={name!r} is not known; choose one of {known}")
    return importlib.import_module(f"{__name__}.{name}")


def rival_settings(name: str, given: Mapping[str, Any]) -> Any:
    """The `Settings` of a rival; its own values where none are given.

    Raises:
      UserError: no such rival, or no such entry.
    """
    settings = find_rival(name).Settings
    known = [field.name for field in dataclasses.fields(settings)]
    for entry in given:
        if entry not in known:
            raise UserError(
                f"rival.{entry} is no setting of {name}; it has {', '.join(known) or 'none'}"
            )
    return settings(**given)


def rival_config(name: str) -> dict[str, Any]:
    """The changes in configs/detect.py for a rival as its paper trains it.

    Raises:
      UserError: there is none of this name.
    """
    rival = find_rival(name)
    reads = {"backbone": name, "inputs": "original", "blocks": "full"}
    return {
        **rival.CONFIG,
        "mae": "",
        "detector": {**rival.CONFIG.get("detector", {}), **reads},
        "rival": dataclasses.asdict(rival.Settings()),
    }
