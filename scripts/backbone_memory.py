"""Compiled memory of a detector's training step with a pretrained backbone, without running one.

    python scripts/backbone_memory.py [--batch 32]

A ViT-B/16 as branch `original` alone, at 224 px in float32: arguments (weights, moments, images)
and temporary memory, for each `detector.train`, without and with `remat`. Of the compiler for the
device that JAX finds.
"""

import argparse
import sys

import jax
import jax.numpy as jnp
import optax

from rffr_jax.cluster.command_line import run_program
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.backbone import TRAIN
from rffr_jax.models.sizes import BackboneSettings, ModelSettings
from rffr_jax.training.step import init_training_state, make_step

VIT_B16 = BackboneSettings(width=768, depth=12, heads=12, image_size=224, patch_size=16)


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=32, help="images of a step")
    args = parser.parse_args(argv)
    print("| `detector.train` | GB | GB with `remat` |\n| --- | --- | --- |")
    for train in TRAIN:
        found = [step_bytes(VIT_B16, train, remat, args.batch) for remat in (False, True)]
        print(f"| `{train}` |", " | ".join(f"{size / 1e9:.2f}" for size in found), "|", flush=True)
    return 0


def step_bytes(backbone: BackboneSettings, train: str, remat: bool, batch: int) -> int:
    """Bytes of the arguments and of the temporary memory of one compiled step.

    Args:
      train: one of `TRAIN`.
      batch: images of the step.
    """
    size, patch = backbone.image_size, backbone.patch_size
    settings = DetectionSettings(
        model=ModelSettings("tiny", size, patch),  # of the residual branch, which is not there
        mae=None,
        inputs="original",
        blocks="full",
        residual="mae",
        k=1,
        alpha=4.0,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        pretrained=backbone,
        train=train,
    )
    detection = Detection(settings, jnp.float32, remat=remat)
    optimizer = optax.adamw(1e-4)

    def losses(parameters, frozen, rows):
        logits = detection.train_logits(
            detection.whole(parameters, frozen), {}, rows["image"], None, ()
        ).logits
        each = optax.softmax_cross_entropy_with_integer_labels(logits, rows["label"])
        return {"loss": each}, {}

    trained = detection.abstract_trained
    state = jax.eval_shape(lambda weights: init_training_state(optimizer, 0.0, weights), trained)
    frozen = detection.abstract_parameters["branches"]["original"] if train != "all" else {}
    rows = {
        "image": jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "weight": jax.ShapeDtypeStruct((batch,), jnp.float32),
    }
    step = make_step(losses, optimizer, make_mesh(), micro_batches=1, ema_decay=0.0)
    jitted = jax.jit(step, donate_argnums=0)
    plan = jitted.lower({**state, "parameters": trained}, frozen, rows).compile().memory_analysis()
    assert plan is not None
    return plan.argument_size_in_bytes + plan.temp_size_in_bytes


if __name__ == "__main__":
    sys.exit(run_program(main))
