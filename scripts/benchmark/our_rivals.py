"""What this project does in the rows of rivals: a training step of `configs/detect.py:NAME`."""

import functools

from rffr_jax.cluster.freed_memory import keep_freed_memory
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.training.detect import DetectorTraining
from rffr_jax.training.step_memory import rival_step_bytes
from scripts.benchmark.contestant import Loaded
from scripts.benchmark.ours import job_config, set_precision, training_step
from scripts.benchmark.rival_shapes import rival_setup, rival_shapes
from scripts.benchmark.setup import Setup


def _step(setup: Setup, name: str) -> Loaded:
    """Batch sent, losses, gradients, update; fakes are given, those of SBI too."""
    setup = rival_setup(setup, name)
    shapes = rival_shapes(setup, name)
    keep_freed_memory(rival_step_bytes(name, shapes, setup.image_size, setup.batch))
    set_precision(setup)
    config = job_config(setup, "detect", name)
    config.mae, config.data.fakes = "", "given"
    config.rival.update(shapes)
    objective = DetectorTraining(config, setup.folder / name, make_mesh())
    return training_step(setup, config, objective, compared=False)


xception_step = functools.partial(_step, name="xception")
sbi_step = functools.partial(_step, name="sbi")
recce_step = functools.partial(_step, name="recce")
uia_vit_step = functools.partial(_step, name="uia_vit")
