"""What this project does in each row: functions from a `Setup` to `Loaded`."""

import dataclasses
import pathlib
import runpy
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree
from safetensors.numpy import save_file

from rffr_jax.cluster.freed_memory import keep_freed_memory
from rffr_jax.cluster.memory import passes_at_once
from rffr_jax.cluster.sharding import init_sharded, make_mesh, put_batch
from rffr_jax.config import Config
from rffr_jax.convert.rules import to_source
from rffr_jax.convert.tables import MAE_TABLES, TIMM_VIT, fixed_positions
from rffr_jax.data.pipeline import train_batches
from rffr_jax.data.readers.prepared import PreparedDataset
from rffr_jax.data.readers.records import FaceRecord
from rffr_jax.evaluation.scoring import Scorer
from rffr_jax.examples import Example
from rffr_jax.faces.shards import write_dataset
from rffr_jax.images.image_formats import encode_crop
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.detection import Detection, unit_range
from rffr_jax.method.residual import residual_image
from rffr_jax.method.residual_cache import MEMORY_GB, ResidualCache
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings, compute_dtype
from rffr_jax.runs.checkpoints.weights import load_weights, save_weights
from rffr_jax.synthetic.dataset import SyntheticDataset
from rffr_jax.training.detect import DetectorTraining
from rffr_jax.training.detector_settings import detection_settings
from rffr_jax.training.flops import matrix_flops
from rffr_jax.training.loop import Objective, compiled_step
from rffr_jax.training.mae_training import mae_about
from rffr_jax.training.optimizer import make_optimizer
from rffr_jax.training.pretrain import Pretraining
from rffr_jax.training.step import init_training_state
from rffr_jax.training.step_memory import training_step_bytes
from scripts.benchmark.contestant import Loaded, Work
from scripts.benchmark.setup import WARM_UP_STEPS, Setup

PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": None}
MAE_FOLDER = "mae"
INPUT_IMAGES = 64
TRAINING_IMAGES = 10**6  # as long as no run of the benchmark is


def shared_files(setup: Setup) -> Loaded:
    """Writes the weights of MAE and detector, for PyTorch under its own names.

    The MAE's checkpoint is what `config.mae` names; `mae.safetensors` is for transformers,
    `original`, `residual` and `head` are the detector's parts under timm's names.
    """
    settings = _model(setup)

    def start() -> Work:
        parameters = jax.device_get(_mae_parameters(setup))
        about = mae_about(settings, job_config(setup, "pretrain"))
        save_weights(setup.folder / MAE_FOLDER, 0, parameters, about)
        heads = settings.shape.heads
        whole = {**parameters, **fixed_positions(settings)}
        arrays = {"mae": to_source(whole, MAE_TABLES[setup.huggingface], heads)}
        detector = jax.device_get(_detection(setup).init_parameters(0))
        for name, branch in detector["branches"].items():
            arrays[name] = to_source(branch, TIMM_VIT, heads)
        arrays["head"] = detector["head"]
        for name, tensors in arrays.items():
            save_file(
                {key: np.asarray(tensor) for key, tensor in tensors.items()},
                setup.folder / f"{name}.safetensors",
            )
        return Work(run=lambda times: None, images=0)

    return start


def matrix_product(setup: Setup) -> Loaded:
    """The product of two square matrices: the rate that the machine is measured by."""
    set_precision(setup)
    shape = (setup.matrix, setup.matrix)
    dtype = jnp.bfloat16 if setup.dtype == "bfloat16" else jnp.float32
    factors = [jax.random.normal(jax.random.key(seed), shape, dtype) for seed in (0, 1)]
    return lambda: _compiled(jnp.matmul, tuple(factors), images=0)


def full_residual(setup: Setup) -> Loaded:
    """Residual images from uint8 images on the device, as many passes at a time as memory says."""
    return _residual(setup, passes_at_once(_model(setup), _dtype(setup), setup.batch))


def full_residual_at_once(setup: Setup) -> Loaded:
    """The same with all passes beside each other."""
    return _residual(setup, None)


def pretraining_step(setup: Setup) -> Loaded:
    """A step of `configs/pretrain.py`: masks drawn, batch sent, gradients, AdamW."""
    keep_freed_memory(training_step_bytes(_model(setup), setup.batch))
    return pretraining_step_returning_memory(setup)


def pretraining_step_returning_memory(setup: Setup) -> Loaded:
    """The same without the setting that keeps freed memory."""
    set_precision(setup)
    config = job_config(setup, "pretrain")
    objective = Pretraining(config, setup.folder / "pretrain", make_mesh())
    return training_step(setup, config, objective)


def detector_step(setup: Setup) -> Loaded:
    """A step of `configs/detect.py`: blocks drawn, batch sent, residuals, gradients, AdamW."""
    keep_freed_memory(training_step_bytes(_model(setup), setup.batch))
    return detector_step_returning_memory(setup)


def detector_step_returning_memory(setup: Setup) -> Loaded:
    """The same without the setting that keeps freed memory."""
    set_precision(setup)
    config = job_config(setup, "detect")
    objective = DetectorTraining(config, setup.folder / "detect", make_mesh())
    return training_step(setup, config, objective)


def evaluation(setup: Setup) -> Loaded:
    """Scores of a set whose residuals are computed every time."""
    return _evaluation(setup, kept=False)


def evaluation_kept(setup: Setup) -> Loaded:
    """Scores of a set whose images and residuals are in memory from the first time."""
    return _evaluation(setup, kept=True)


def record_reading(setup: Setup) -> Loaded:
    """Prepared JPEG records one after another in random order, by one thread."""
    dataset = _records(setup, "one_by_one")
    order = np.random.default_rng(0).permutation(INPUT_IMAGES)

    def run(times: int):
        for _ in range(times):
            for index in order:
                dataset.load(int(index), setup.image_size)

    return lambda: _first_run(Work(run, INPUT_IMAGES))


def record_batches(setup: Setup) -> Loaded:
    """Prepared JPEG records as batches of training, read ahead by threads of this process."""
    dataset = _records(setup, "batches")
    batches = train_batches(
        dataset, size=setup.image_size, batch_size=INPUT_IMAGES, seed=0, start_step=0,
        num_steps=TRAINING_IMAGES, balanced=False,
    )  # fmt: skip

    def run(times: int):
        for _ in range(times):
            next(batches)

    def start() -> Work:
        run(8)  # more than what is read ahead
        return Work(run, INPUT_IMAGES)

    return start


def _residual(setup: Setup, at_once: int | None) -> Loaded:
    set_precision(setup)
    definition, _ = abstract_mae(_model(setup), _dtype(setup))
    blocks = BlockGrid(_model(setup).grid, setup.k)
    arguments = _mae_parameters(setup), jnp.asarray(setup.images())

    def residual(parameters: PyTree, images: Array) -> Array:
        mae: MAE = nnx.merge(definition, nnx.State(parameters))
        return residual_image(mae, blocks, unit_range(images), at_once=at_once)[1]

    return lambda: _compiled(residual, arguments, images=setup.batch, compared=True)


def training_step(
    setup: Setup, config: Config, objective: Objective, compared: bool = True
) -> Loaded:
    """Steps of an objective; with `compared` the first losses are for the other side."""
    mesh = make_mesh()
    optimizer = make_optimizer(config.optimizer, config.steps)
    parameters = init_sharded(objective.init_parameters, mesh)
    training = init_training_state(
        optimizer, config.optimizer.ema_decay, parameters, objective.loss_names
    )
    state = {"parameters": parameters, **training}
    rows = slice(0, setup.batch)
    batch = {
        "image": setup.images(),
        "label": setup.labels(),
        "weight": np.ones(setup.batch, np.float32),
        "index": np.arange(setup.batch, dtype=np.int32),
    }

    def start() -> Work:
        began = time.perf_counter()
        program, flops = compiled_step(objective, optimizer, state, config, mesh, rows)
        compile_seconds = time.perf_counter() - began
        now, done, losses = state, 0, []

        def run(times: int):
            nonlocal now, done
            for _ in range(times):
                inputs = objective.inputs(done, batch, rows)
                now = program(now, objective.frozen, put_batch(inputs, mesh))
                done += 1
            jax.block_until_ready(now)

        for _ in range(WARM_UP_STEPS):
            run(1)
            losses.append(float(now["totals"]["loss"]) - sum(losses))
        return Work(
            run,
            images=setup.batch,
            output=np.array(losses) if compared else None,
            flops=flops,
            compile_seconds=compile_seconds,
            temporary_bytes=_temporary_bytes(program),
            memory=_device_memory(),
        )

    return start


def _evaluation(setup: Setup, kept: bool) -> Loaded:
    set_precision(setup)
    mesh = make_mesh()
    detection = _detection(setup)
    mae = load_weights(setup.folder / MAE_FOLDER, "mae", detection.abstract_frozen, mesh)
    parameters = init_sharded(lambda: detection.init_parameters(0), mesh)
    dataset = _Noise(setup)
    scorer = Scorer(
        detection,
        mae,
        mesh,
        batch_size=setup.batch,
        workers=0,
        max_bad_fraction=0.0,
        kept=ResidualCache(detection, mae, mesh, memory_gb=MEMORY_GB if kept else 0.0),
    )

    def start() -> Work:
        data = scorer.prepare(dataset) if kept else dataset

        def run(times: int):
            for _ in range(times):
                scores = scorer.score(parameters, data).scores
            return scores

        images = jax.ShapeDtypeStruct(setup.images().shape, jnp.uint8)
        residuals = jax.ShapeDtypeStruct(images.shape, jnp.float32)
        logits = jax.make_jaxpr(detection.logits)(parameters, images, residuals)
        flops = matrix_flops(logits)
        if not kept:
            flops += matrix_flops(jax.make_jaxpr(detection.residual_images)(mae, images))
        return Work(run, setup.batch, output=run(1), flops=flops, memory=_device_memory())

    return start


def _compiled(function: Callable, arguments: tuple, *, images: int, compared: bool = False) -> Work:
    """A function compiled for its arguments, and run once."""
    began = time.perf_counter()
    traced = jax.jit(function).trace(*arguments)
    program = traced.lower().compile()
    compile_seconds = time.perf_counter() - began

    def run(times: int):
        for _ in range(times):
            output = program(*arguments)
        return jax.block_until_ready(output)

    output = run(1)
    return Work(
        run,
        images,
        output=np.asarray(output) if compared else None,
        flops=matrix_flops(traced.jaxpr),
        compile_seconds=compile_seconds,
        temporary_bytes=_temporary_bytes(program),
        memory=_device_memory(),
    )


def _first_run(work: Work) -> Work:
    work.run(1)
    return work


def _temporary_bytes(program: jax.stages.Compiled) -> int | None:
    analysis = program.memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes


def _device_memory() -> Callable[[], tuple[int, int]] | None:
    device = jax.devices()[0]
    if device.memory_stats() is None:
        return None

    def read() -> tuple[int, int]:
        stats = device.memory_stats()
        return stats["bytes_in_use"], stats["peak_bytes_in_use"]

    return read


def _model(setup: Setup) -> ModelSettings:
    return ModelSettings(setup.size, setup.image_size, setup.patch_size)


def _mae_parameters(setup: Setup) -> PyTree:
    def fresh() -> PyTree:
        mae = MAE(_model(setup), dtype=jnp.float32, rngs=nnx.Rngs(0))
        return nnx.to_pure_dict(nnx.state(mae, nnx.Param))

    return init_sharded(fresh, make_mesh())


def _detection(setup: Setup) -> Detection:
    return Detection(detection_settings(job_config(setup, "detect"))[0], _dtype(setup))


def job_config(setup: Setup, job: str, variant: str = "") -> Config:
    """The job's own config with the row's shapes, and a learning rate that is never 0."""
    config = runpy.run_path(str(setup.configs / f"{job}.py"))["get_config"](
        *filter(None, [variant])
    )
    config.seed = 0
    config.dtype = "bfloat16" if setup.dtype == "bfloat16" else "float32"
    config.model.update(dataclasses.asdict(_model(setup)))
    config.blocks.k = setup.k
    config.batch_size = setup.batch
    config.steps = TRAINING_IMAGES
    config.optimizer.schedule, config.optimizer.warmup_steps = "constant", 0
    if job == "detect":
        config.mae = str(setup.folder / MAE_FOLDER)
        config.data.validation = ()
        config.residuals.training = "never"
    return config


def _dtype(setup: Setup):
    return compute_dtype("bfloat16" if setup.dtype == "bfloat16" else "float32")


def set_precision(setup: Setup):
    """Of matrix products on a GPU, as the row's type says."""
    if jax.default_backend() != "cpu":
        jax.config.update("jax_default_matmul_precision", PRECISION[setup.dtype])


class _Noise:
    """The row's images as a data set in memory, half real, half fake."""

    def __init__(self, setup: Setup):
        self._images = setup.images()
        self.examples = [
            Example(
                id=str(row), path=str(row), label=int(label), dataset="noise",
                method="noise" if label else "real", video=str(row), frame=0, source=str(row),
            )
            for row, label in enumerate(setup.labels())
        ]  # fmt: skip

    def load(self, index: int, size: int) -> np.ndarray:
        return self._images[index]


def _records(setup: Setup, name: str) -> PreparedDataset:
    """Procedural faces as prepared records, and as JPEG files for the other side."""
    faces = SyntheticDataset(0, "train")
    files = [encode_crop(faces.load(i, setup.image_size), "jpeg") for i in range(INPUT_IMAGES)]
    folder = setup.folder / name
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number}.jpg").write_bytes(file)
    path = write_dataset(
        folder, "faces", {"train": lambda: map(_record, range(INPUT_IMAGES), files)},
        image_format="jpeg", size=setup.image_size, preparation={},
    )  # fmt: skip
    return PreparedDataset(pathlib.Path(path), "train")


def _record(number: int, image: bytes) -> FaceRecord:
    name = f"{number:06d}"
    return FaceRecord(
        id=name, image=image, label=0, dataset="faces", method="real", video=name, frame=0,
        source=name, group="", person="", box=np.zeros(4, np.float32),
        landmarks=np.zeros((5, 2), np.float32), score=1.0,
    )  # fmt: skip
