"""The training loop of both objectives.

Its order is fixed: evaluate, save, take the next batch, step, log. So every checkpoint holds a
consistent pair of state and step, and the next batch (read ahead) depends only on the step. An
implicit copy in a step is an error. Evaluations and saves do not count as training time.
"""

import functools
import logging
import pathlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import jax
import numpy as np
import optax
import tqdm
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from rffr_jax.cluster import freed_memory, processes
from rffr_jax.cluster.interruption import InterruptedRunError, StopRequest
from rffr_jax.cluster.sharding import (
    batch_sharding,
    parameter_shardings,
    put_batch,
    rows_of_process,
    with_shardings,
)
from rffr_jax.config import Config
from rffr_jax.data.bad_files import BadFiles
from rffr_jax.data.pipeline import Batch, empty_batch, train_batches
from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset
from rffr_jax.models.sizes import compute_dtype
from rffr_jax.runs.checkpoints.run_state import RunCheckpoints
from rffr_jax.training.flops import matrix_flops
from rffr_jax.training.metric_writer import MetricWriter
from rffr_jax.training.optimizer import learning_rate_schedule, make_optimizer
from rffr_jax.training.profile import StepProfile, profiled_steps
from rffr_jax.training.read_ahead import read_ahead
from rffr_jax.training.save_times import SaveTimes
from rffr_jax.training.step import (
    RowLosses,
    State,
    all_finite,
    check_micro_batches,
    init_totals,
    init_training_state,
    make_step,
)
from rffr_jax.training.throughput import Throughput

log = logging.getLogger(__name__)

MAX_WAIT_SHARE = 0.1  # of training time spent waiting for data; above it there is one warning


class Objective:
    """A task for the loop; a subclass has these attributes and methods.

    Attributes:
      about: description of the model; stored with every checkpoint, compared when a run resumes.
      dataset: to train on.
      workers: processes that read data; 0 reads with threads of this process.
      balanced: whether batches are half real and half fake.
      pairs: whether each fake comes with the real that it was made of.
      frozen: arrays that the loss reads and that are not trained.
      loss_names: the parts of the loss, as they are logged.
      mask_patch: side of the patches whose manipulated share comes with a batch; 0: without shares.
      stages: the steps at which other shapes of inputs begin; the first is 0.
      evaluates_start: whether the initial parameters are evaluated, too, as step 0.
    """

    about: dict[str, Any]
    dataset: Dataset
    workers: int
    balanced: bool
    frozen: PyTree
    loss_names: tuple[str, ...] = ("loss",)
    mask_patch: int = 0
    pairs: bool = False
    stages: tuple[int, ...] = (0,)
    evaluates_start: bool = False

    def init_parameters(self) -> PyTree:
        """Random parameters; traced for their shapes."""
        raise NotImplementedError

    def load_initial_parameters(self) -> PyTree:
        """The start of a new run, on the mesh: weights that the config names, else random ones."""
        raise NotImplementedError

    def prepare_inputs(self):
        """Computes what `inputs` looks up; every process calls this once, before the steps."""

    def inputs(self, step: int, batch: Batch, rows: slice) -> Batch:
        """The arrays that the loss reads, for this process's rows of a batch.

        Random choices are made for the whole global batch, of which `rows` are kept, so they do not
        depend on the number of processes. Shapes are the same at every step of a stage. A thread
        calls it, so it computes nothing on a device and asks no other process.
        """
        raise NotImplementedError

    def losses(
        self, parameters: PyTree, frozen: PyTree, batch: Mapping[str, Array]
    ) -> tuple[RowLosses, PyTree]:
        """The parts of each row's loss, and new values of parameters that no gradient moves, or {}.

        The sum of the parts, of which the first is `loss`, is minimised.
        """
        raise NotImplementedError

    def evaluate(self, parameters: PyTree, step: int) -> dict[str, dict[str, float]]:
        """Metrics of each validation split; also draws samples and keeps the best weights."""
        raise NotImplementedError

    def after_save(self):
        """Records what belongs beside a checkpoint; all processes come by here together."""


def check_settings(objective: Objective, config: Config, mesh: Mesh):
    """Checks all that `train` needs of the settings, before anything is written.

    Raises:
      UserError: batch, optimizer, sampling or random choices that do not fit.
    """
    rows = rows_of_process(config.batch_size, mesh)
    examples = len(objective.dataset.examples)
    if examples < config.batch_size:
        raise UserError(
            f"data.train holds {examples} images, fewer than one batch of --config.batch_size="
            f"{config.batch_size}; name more data or take a smaller batch"
        )
    check_micro_batches(config, mesh)
    profiled_steps(config.profile)
    make_optimizer(config.optimizer, config.steps)
    size = config.model.image_size
    train_batches(
        objective.dataset,
        size=size,
        batch_size=config.batch_size,
        seed=config.seed,
        start_step=0,
        num_steps=config.steps,
        balanced=objective.balanced,
        process_count=jax.process_count(),
        workers=objective.workers,
        mask_patch=objective.mask_patch,
        pairs=objective.pairs,
    ).close()
    for step in objective.stages:
        empty = empty_batch(rows.stop - rows.start, size, objective.mask_patch)
        objective.inputs(step, empty, rows)


def train(objective: Objective, config: Config, workdir: pathlib.Path, mesh: Mesh) -> PyTree:
    """Trains for `config.steps` steps, resuming from the workdir's newest checkpoint.

    Returns:
      The final parameters.

    Raises:
      UserError: the state is no longer finite, or settings that do not fit.
      InterruptedRunError: a signal asked to stop; the state is saved.
    """
    rows = rows_of_process(config.batch_size, mesh)
    optimizer = make_optimizer(config.optimizer, config.steps)
    learning_rate = learning_rate_schedule(config.optimizer, config.steps)
    bad_files = BadFiles(objective.dataset, config.data.max_bad_fraction)

    with ExitStack() as stack:
        # ---- state: the run's own checkpoint, else the initial parameters
        checkpoints = stack.enter_context(RunCheckpoints(workdir))
        start, state = _initial_state(objective, optimizer, config, checkpoints, mesh)
        if start:
            log.info("resuming %s at step %d", workdir, start)
        if start >= config.steps:
            return state["parameters"]
        log.info("%s", freed_memory.description())

        batches = stack.enter_context(
            closing(
                train_batches(
                    objective.dataset,
                    size=config.model.image_size,
                    batch_size=config.batch_size,
                    seed=config.seed,
                    start_step=start,
                    num_steps=config.steps,
                    balanced=objective.balanced,
                    process_index=jax.process_index(),
                    process_count=jax.process_count(),
                    workers=objective.workers,
                    mask_patch=objective.mask_patch,
                    pairs=objective.pairs,
                )
            )
        )
        stop = stack.enter_context(StopRequest())
        totals = jax.tree.map(lambda leaf: leaf.sharding, state["totals"])
        zero_totals = jax.jit(
            functools.partial(init_totals, objective.loss_names), out_shardings=totals
        )
        programs = {
            step: compiled_step(objective, optimizer, state, config, mesh, rows, step)
            for step in _stages_from(objective.stages, start)
        }
        program, flops = programs.pop(min(programs))
        objective.prepare_inputs()
        writer = None
        if processes.is_main_process():
            writer = stack.enter_context(closing(MetricWriter(workdir, start)))
        bar = stack.enter_context(
            tqdm.tqdm(
                total=config.steps,
                initial=start,
                disable=writer is None or not sys.stderr.isatty(),
                unit="step",
                desc=workdir.name,
            )
        )
        said_slow = False
        save_times = SaveTimes(config.save_every, config.save_minutes)
        throughput = Throughput(config.batch_size, compute_dtype(config.dtype))
        profile = stack.enter_context(closing(StepProfile(config.profile, workdir)))
        state_is_finite, norm = jax.jit(all_finite), jax.jit(optax.tree.norm)

        def read(step: int) -> tuple[Batch, dict[str, jax.Array]]:
            batch = next(batches)
            with jax.transfer_guard("disallow"):
                needed = objective.inputs(step, batch, rows)
            return batch, put_batch(needed, mesh)  # of several processes, an implicit copy to JAX

        inputs = stack.enter_context(closing(read_ahead(read, range(start, config.steps))))

        def record(step: int, split: str, values: Mapping[str, float]):
            if writer:
                writer.write(step, split, values)

        def evaluate(step: int):
            _check_finite(state_is_finite(state), step, workdir)
            for split, values in objective.evaluate(state["parameters"], step).items():
                record(step, split, values)

        def save(step: int):
            _check_finite(state_is_finite(state), step, workdir)
            progress = {"step": step, "images_seen": step * config.batch_size}
            training = {name: value for name, value in state.items() if name != "parameters"}
            about = {**objective.about, "progress": progress}
            checkpoints.save(step, state["parameters"], training, about)
            objective.after_save()
            save_times.saved()

        for step in range(start, config.steps + 1):
            last = step == config.steps
            begun = step > start or (step == 0 and objective.evaluates_start)
            if begun and (step % config.evaluate_every == 0 or last):
                jax.block_until_ready(state)
                with throughput.pause():
                    evaluate(step)
            stopping = stop.should_stop(step)
            if step > start and (save_times.is_due(step) or last or stopping):
                jax.block_until_ready(state)
                with throughput.pause():
                    save(step)
            if stopping and not last:
                raise InterruptedRunError(
                    f"stopped at step {step} of {config.steps}; run the same command to resume"
                )
            if last:
                break

            with throughput.waiting_for_data():
                batch, on_mesh = next(inputs)
            bad_files.update(batch)

            if step in programs:
                program, flops = programs.pop(step)
            profile.before(step, state)
            with jax.transfer_guard("disallow"):
                state = program(state, objective.frozen, on_mesh)
            throughput.step(flops)

            done = step + 1
            bar.update()
            if done % config.log_every == 0 or done == config.steps:
                _check_finite(state["finite"], done, workdir)
                bad_files.share()
                checkpoints.raise_errors()
                save_times.ask()
                if not said_slow and throughput.share_waited > MAX_WAIT_SHARE and done > start + 10:
                    said_slow = True
                    log.warning(
                        "steps waited for data %.0f %% of the time: they could do %.3g steps/s, "
                        "and the data give %.3g batches/s with data.workers=%d; more workers, "
                        "kept pixels (data.cache) or prepared records help",
                        100 * throughput.share_waited,
                        *throughput.rates(),
                        objective.workers,
                    )
                totals, state["totals"] = jax.device_get(state["totals"]), zero_totals()
                count = totals.pop("count")
                values = {
                    **{name: float(total / count) for name, total in totals.items()},
                    "parameter_norm": float(jax.device_get(norm(state["parameters"]))),
                    "learning_rate": float(np.asarray(learning_rate(step))),
                    "images_seen": done * config.batch_size,
                    **throughput.read(),
                }
                record(done, "train", values)
                bar.set_postfix(loss=f"{values['loss']:.4f}")
    return state["parameters"]


# ---- state


def _initial_state(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    config: Config,
    checkpoints: RunCheckpoints,
    mesh: Mesh,
) -> tuple[int, State]:
    fresh_state = functools.partial(
        init_training_state,
        optimizer,
        config.optimizer.ema_decay,
        loss_names=objective.loss_names,
    )
    abstract = jax.eval_shape(objective.init_parameters)
    parameters = with_shardings(abstract, parameter_shardings(abstract, mesh))
    abstract = jax.eval_shape(fresh_state, parameters)
    training = with_shardings(abstract, parameter_shardings(abstract, mesh))
    restored = checkpoints.restore(parameters, training)
    if restored is not None:
        step, parameters, training = restored
        return step, {"parameters": parameters, **training}
    parameters = objective.load_initial_parameters()
    shardings = jax.tree.map(lambda leaf: leaf.sharding, training)
    fresh = jax.jit(fresh_state, out_shardings=shardings)(parameters)
    return 0, {"parameters": parameters, **fresh}


def _check_finite(finite: Array, step: int, workdir: pathlib.Path):
    if not jax.device_get(finite):
        raise UserError(
            f"the loss or the weights are no longer finite at step {step}; nothing after the last "
            f"good checkpoint in {workdir} was saved; lower optimizer.learning_rate"
        )


# ---- the step


def _stages_from(stages: Sequence[int], start: int) -> list[int]:
    """The stage that step `start` lies in, and those after it."""
    return [max(step for step in stages if step <= start), *(s for s in stages if s > start)]


def compiled_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    state: PyTree,
    config: Config,
    mesh: Mesh,
    rows: slice,
    first_step: int = 0,
) -> tuple[jax.stages.Compiled, int]:
    """The compiled step (state, frozen arrays, batch) -> state, and its matrix FLOPs.

    Args:
      first_step: of a stage: the step is compiled for the shapes of its inputs.
    """
    step = make_step(
        objective.losses,
        optimizer,
        mesh,
        micro_batches=config.micro_batches,
        ema_decay=config.optimizer.ema_decay,
        sam_rho=config.optimizer.get("sam_rho", 0.0),
    )
    jitted = jax.jit(
        step,
        donate_argnums=0,
        out_shardings=jax.tree.map(lambda leaf: leaf.sharding, state),
    )
    example = empty_batch(rows.stop - rows.start, config.model.image_size, objective.mask_patch)
    inputs = {
        name: jax.ShapeDtypeStruct(
            (config.batch_size, *value.shape[1:]), value.dtype, sharding=batch_sharding(mesh)
        )
        for name, value in objective.inputs(first_step, example, rows).items()
    }
    traced = jitted.trace(state, objective.frozen, inputs)
    return traced.lower().compile(), matrix_flops(traced.jaxpr)
