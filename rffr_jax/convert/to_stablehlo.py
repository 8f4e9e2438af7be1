"""A whole detector as one program of StableHLO that JAX runs without this package."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from rffr_jax.errors import UserError
from rffr_jax.method.detection import Detection

PLATFORMS = ("cpu", "cuda")
MOST_BYTES = 2**31 - 2**24
"""Of weights: `jax.export` writes a FlatBuffer, which ends below 2 GiB."""


def export_stablehlo(detection: Detection, parameters: PyTree, frozen: PyTree) -> bytes:
    """The program from uint8 [batch, size, size, 3] to margins, float32 [batch], for any batch.

    The weights are constants in it. It reads one image after another, so that any number of them
    fits into memory, and multiplies in full float32, on GPUs too.

    Args:
      parameters: all of the detector's.
      frozen: of what its residuals come from; {} without it.

    Returns:
      What `jax.export.deserialize` reads.

    Raises:
      UserError: the weights are too large for one file.
    """
    parameters, frozen = jax.tree.map(jnp.asarray, jax.device_get((parameters, frozen)))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((parameters, frozen)))
    if size > MOST_BYTES:
        raise UserError(
            f"the weights take {size / 2**30:.1f} GiB, and a program of jax.export holds less than "
            "2; export them with --to torch, or carry a model folder (`rffr-jax export-model`)"
        )

    def margin(image: UInt8[Array, "size size 3"]) -> Float[Array, ""]:
        return margins(detection, parameters, frozen, image[None])[0]

    def map_margin(images: UInt8[Array, "batch size size 3"]) -> Float[Array, " batch"]:
        return jax.lax.map(margin, images)

    side = detection.settings.model.image_size
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, side, side, 3), np.uint8)
    with jax.default_matmul_precision("highest"):
        exported = jax.export.export(jax.jit(map_margin), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())


def margins(
    detection: Detection,
    parameters: PyTree,
    frozen: PyTree,
    images: UInt8[Array, "batch size size 3"],
) -> Float[Array, " batch"]:
    """The logit of fake minus that of real; its sigmoid is the score of `evaluation.scoring`."""
    if detection.settings.fills_blocks:
        # Kept residuals are float16, and so they are everywhere.
        differences = detection.differences(frozen, images)
        residuals = detection.residual_images_from_differences(differences)
    else:
        residuals = detection.residual_images(frozen, images)
    logits = detection.logits(parameters, images, residuals)
    return logits[:, 1] - logits[:, 0]
