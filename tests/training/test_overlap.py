"""The loop waits for no step before it must, so that the next are dispatched while one runs."""

import itertools

import jax
import jaxtyping
import numpy as np
import optax
import pytest

from rffr_jax.runs.checkpoints.run_state import RunCheckpoints
from rffr_jax.training import loop
from rffr_jax.training.pretrain import Pretraining
from tests import jobs


class Outcome:
    """An array that a step gave; whoever reads its values waits for the step, and is noted."""

    def __init__(self, array, events: list):
        self.array, self._events = array, events

    def __array__(self, dtype=None, copy=None):
        self._events.append("read")
        return np.asarray(self.array, dtype)

    def __bool__(self):
        return bool(np.asarray(self))

    def __float__(self):
        return float(np.asarray(self))

    def __truediv__(self, other):
        return np.asarray(self) / np.asarray(other)

    def block_until_ready(self):
        self._events.append("read")
        return self


def array_of(outcome):
    return outcome.array if isinstance(outcome, Outcome) else outcome


def run(workdir, monkeypatch, *flags):
    """A pretraining of four steps.

    Returns:
      Its steps and reads in their order, reads in a row as one; and the types of the images that
      were put.
    """
    events, types = [], set()
    put_batch, compiled_step = loop.put_batch, loop.compiled_step

    def put(batch, mesh):
        types.add(batch["image"].dtype)
        return put_batch(batch, mesh)

    def noted_step(*settings):
        program, flops = compiled_step(*settings)

        def step(state, frozen, batch):
            events.append("step")
            state = program(jax.tree.map(array_of, state), frozen, batch)
            return jax.tree.map(lambda array: Outcome(array, events), state)

        return step, flops

    jit = jax.jit

    def measuring_program(function, **options):
        """Programs that measure a state take its arrays, and are no reads."""
        program = jit(function, **options)
        if function not in (loop.all_finite, optax.tree.norm):
            return program
        return lambda tree: program(jax.tree.map(array_of, tree))

    with monkeypatch.context() as patch:
        patch.setattr(jax, "jit", measuring_program)
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # an outcome is no array
        patch.setattr(loop, "put_batch", put)
        patch.setattr(loop, "compiled_step", noted_step)
        patch.setattr(Pretraining, "evaluate", lambda *_: {})
        patch.setattr(RunCheckpoints, "save", lambda *_: None)
        assert jobs.start("pretrain", workdir, *flags) == 0
    order = [[event] if event == "read" else [*found] for event, found in itertools.groupby(events)]
    return [*itertools.chain(*order)], types


@pytest.mark.parametrize(
    ("log_every", "order"),
    [
        (4, [*("step",) * 4, "read"]),
        (1, ["step", "read"] * 4),
    ],
)
def test_only_the_log_waits_for_a_step(tmp_path, monkeypatch, data, log_every, order):
    flags = (f"log_every={log_every}", *data, "save_every=10", "evaluate_every=10", "steps=4")
    events, types = run(tmp_path, monkeypatch, *flags)
    assert events == order
    assert types == {np.dtype(np.uint8)}
