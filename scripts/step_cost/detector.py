"""A step of a two-branch detector on random blocks or whole images, with a frozen MAE."""

import dataclasses
from typing import TYPE_CHECKING

from rffr_jax.errors import UserError
from rffr_jax.method.blocks import BlockGrid
from scripts.step_cost.cost import (
    LAYERS,
    Cost,
    Step,
    compiled_cost,
    layer_flops,
    layer_values,
    layer_weights,
    mae_flops,
    mae_weights,
    recomputed_flops,
    use_simulated_devices,
)

if TYPE_CHECKING:
    import jax

    from rffr_jax.method.detection import Detection
    from rffr_jax.training.step import Losses

RANDOM, FULL = "random", "full"
BRANCHES = 2


@dataclasses.dataclass(frozen=True)
class DetectorStep(Step):
    """A step of training a detector that reads both images and residuals.

    Attributes:
      blocks: `random`, with the quantiles that a training deals out (their mean is the expected
        number of blocks); a number, which every image then has; or `full`.
      kept: whether the residuals are read, and not computed.
    """

    blocks: str = RANDOM
    kept: bool = False

    @property
    def grid(self) -> BlockGrid:
        return BlockGrid(self.model.grid, self.k)

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of blocks in every group of images; () for whole images.

        Raises:
          UserError: there are no such blocks, or the batch does not fit the groups.
        """
        if self.blocks == FULL:
            return ()
        if self.blocks != RANDOM:
            if self.blocks.isdecimal() and 1 <= int(self.blocks) <= self.grid.count:
                return (int(self.blocks),)
            raise UserError(
                f"--blocks must be {RANDOM}, {FULL} or a number from 1 to {self.grid.count}"
            )
        from configs import detect
        from rffr_jax.training.detector_settings import block_counts

        config = detect.get_config()
        config.batch_size = self.batch
        return block_counts(config, self.grid, self.devices)[0]


def by_hand(step: DetectorStep) -> Cost:
    """The formulas of `scripts.step_cost`.

    Raises:
      UserError: sizes, blocks or a mesh that do not fit.
    """
    if step.gather == LAYERS:
        raise UserError(f"--gather {LAYERS} is counted only for pretraining; leave it out")
    images, shape, grid, w = step.images, step.model.shape, step.grid, step.model.shape.width
    counts, values, area = step.counts, step.values, step.grid.side**2
    read = max(counts) * area if counts else grid.patches
    passes = images * sum(counts) // len(counts) if counts else images * grid.count
    tokens = 1 + read
    branch = shape.depth * 3 * layer_flops(tokens, tokens, w) + 4 * read * values * w
    if step.remat:
        branch += shape.depth * recomputed_flops(tokens, tokens, w)
    head = 3 * 4 * BRANCHES * w
    mae, (frozen, frozen_vectors) = 0, mae_weights(shape, values)
    if step.kept:
        frozen = frozen_vectors = 0
    else:
        mae = passes * mae_flops(shape, grid.patches, area, values)
        mae += images * 2 * grid.patches * values * w
    weights = 4 * w + 2 + BRANCHES * (
        shape.depth * layer_weights(w)
        + values * w + w + w + (1 + grid.patches) * w + 2 * w  # embedding, token, places, norm
    )  # fmt: skip
    vectors = 2 + BRANCHES * (13 * shape.depth * w + 4 * w)
    of_layer = layer_values(tokens, w, shape.heads)
    kept_values = of_layer + shape.depth * tokens * w if step.remat else shape.depth * of_layer
    activations = step.item * images * BRANCHES * kept_values
    differences = 2 * values * (read if counts else grid.hidden.size) if step.kept else 0
    n, m = step.devices, step.fsdp
    frozen_bytes = step.item * frozen
    if frozen:  # the prediction and all vectors are float32
        frozen_bytes += (4 - step.item) * (frozen_vectors + values * shape.decoder_width)
    split = 4 * (weights - vectors) + frozen_bytes - 4 * frozen_vectors
    return Cost(
        flops=images * (BRANCHES * branch + head) + mae,
        memory=32 * weights / m + step.item * 2 * weights + frozen_bytes + 2 * activations,
        network=(m - 1) / m * split + 2 * (n - 1) / n * 4 * weights,
        input=images * (3 * step.image_size**2 + 8 + 4 * max(counts, default=0) + differences),
        held=12 * weights / m + (4 * weights + frozen_bytes) * (1 if m == 1 else 2) + activations,
    )


def compiled(step: DetectorStep) -> Cost:
    """The same of the program that XLA compiles for simulated CPU devices; to be called once in a
    process that has not used JAX yet.

    Raises:
      UserError: sizes, blocks or a mesh that do not fit.
    """
    use_simulated_devices(step)
    import jax

    from configs import detect
    from rffr_jax.cluster.sharding import make_mesh

    detection, config = detection_of(step), detect.get_config()
    parameters = detection.abstract_parameters
    frozen = jax.eval_shape(detection.in_compute_type, detection.abstract_frozen)
    losses, inputs = losses_of(step, detection), input_shapes(step)
    return compiled_cost(losses, parameters, frozen, inputs, config, make_mesh(step.fsdp))


def detection_of(step: DetectorStep) -> "Detection":
    """The forward functions of the detector and its MAE, which have one size."""
    from configs import detect
    from rffr_jax.method.detection import Detection
    from rffr_jax.method.detection_settings import DetectionSettings
    from rffr_jax.models.sizes import compute_dtype

    config = detect.get_config()
    settings = DetectionSettings(
        model=step.model,
        mae=step.model,
        inputs="both",
        blocks=RANDOM if step.counts else FULL,
        residual="mae",
        k=step.k,
        alpha=config.blocks.alpha,
        mean=config.detector.mean,
        std=config.detector.std,
    )
    return Detection(settings, compute_dtype(step.dtype), remat=step.remat)


def losses_of(step: DetectorStep, detection: "Detection") -> "Losses":
    """The cross-entropy of each image, as in `rffr_jax.training.detect`."""
    import optax

    counts = step.counts

    def losses(parameters, frozen, batch):
        blocks, differences = batch.get("blocks"), batch.get("difference")
        outputs = detection.train_logits(
            parameters, frozen, batch["image"], blocks, counts, differences
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(outputs.logits, batch["label"])
        return {"loss": loss}, {}

    return losses


def input_shapes(step: DetectorStep) -> "dict[str, jax.ShapeDtypeStruct]":
    """What a global batch sends."""
    import jax
    import jax.numpy as jnp

    rows, counts = (step.batch,), step.counts
    inputs = {
        "image": jax.ShapeDtypeStruct((*rows, step.image_size, step.image_size, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct(rows, jnp.int32),
        "weight": jax.ShapeDtypeStruct(rows, jnp.float32),
    }
    if counts:
        inputs["blocks"] = jax.ShapeDtypeStruct((*rows, max(counts)), jnp.int32)
    if step.kept:
        patches = max(counts) * step.grid.side**2 if counts else step.grid.hidden.size
        inputs["difference"] = jax.ShapeDtypeStruct((*rows, patches, step.values), jnp.float16)
    return inputs
