"""The newest full states of a run, from which it resumes.

Beside the `parameters` and `about` of any checkpoint they hold `training`: the optimizer's state
and whatever else one step passes on to the next.
"""

import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from rffr_jax.cluster.interruption import InterruptedRunError
from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.manager import open_to_write, require_space
from rffr_jax.runs.checkpoints.names import LATEST
from rffr_jax.runs.checkpoints.steps import newest_intact_step, saved_steps
from rffr_jax.runs.checkpoints.weights import (
    about_item,
    is_checkpoint,
    read_newest_about,
    restore_items,
)

DAMAGED = pathlib.Path("checkpoints", "damaged")


class RunCheckpoints:
    """A context: the newest full states of a run, written in the background.

    Its end waits for unfinished saves. After a defect in one of several processes it does not: if a
    lost process is the reason, a save waits for it until JAX aborts this process, which would never
    say what happened.
    """

    def __init__(self, workdir: pathlib.Path):
        self._workdir = workdir
        self._opened = open_to_write(workdir / LATEST, keep=2)

    def __enter__(self) -> "RunCheckpoints":
        self._manager = self._opened.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error) -> bool | None:
        expected = UserError, InterruptedRunError
        defect = kind and issubclass(kind, Exception) and not issubclass(kind, expected)
        if defect and jax.process_count() > 1:
            return None
        return self._opened.__exit__(kind, *error)

    def save(self, step: int, parameters: PyTree, training: PyTree, about: dict[str, Any]):
        """Begins to write a state; raises the error of the previous save, if it failed."""
        if step in self._manager.all_steps():
            return
        self._manager.wait_until_finished()
        require_space(self._workdir / LATEST, (parameters, training))
        self._manager.save(
            step,
            args=ocp.args.Composite(
                parameters=ocp.args.StandardSave(parameters),
                training=ocp.args.StandardSave(training),
                about=about_item(about),
            ),
        )

    def raise_errors(self):
        """Raises the error of a save in the background, if one failed."""
        self._manager.check_for_errors()

    def restore(self, parameters: PyTree, training: PyTree) -> tuple[int, PyTree, PyTree] | None:
        """The newest intact step and its state, or None where there is none yet.

        Damaged steps after it are moved to `checkpoints/damaged`: the run trains them again.

        Raises:
          UserError: every step there is damaged (nothing is moved), or of another model.
        """
        folder = self._workdir / LATEST
        if not is_checkpoint(folder):
            return None
        step = newest_intact_step(folder, ("about", "parameters", "training"))
        targets = {"parameters": parameters, "training": training}
        state = restore_items(folder, step, targets, str(folder))
        self._set_aside([other for other in saved_steps(folder) if other > step])
        return step, state["parameters"], state["training"]

    def _set_aside(self, steps: Sequence[int]):
        if not steps:
            return
        if jax.process_index() == 0:
            for step in steps:
                _move(self._workdir / LATEST / str(step), self._workdir / DAMAGED)
        multihost_utils.sync_global_devices("damaged checkpoints are set aside")
        self._manager.reload()


def _move(checkpoint: pathlib.Path, folder: pathlib.Path):
    folder.mkdir(parents=True, exist_ok=True)
    names = (f"{checkpoint.name}-{number}" for number in itertools.count(1))
    name = next(name for name in names if not (folder / name).exists())
    checkpoint.rename(folder / name)


def refuse_other_settings(workdir: pathlib.Path, about: dict[str, Any]):
    """Refuses a workdir whose run has another model or task, before anything is written there.

    Raises:
      UserError: the newest checkpoint's description differs from `about`; the fields are named.
    """
    folder = workdir / LATEST
    if not is_checkpoint(folder):
        return
    there = read_newest_about(folder)
    different = sorted(
        f"{name}: {there.get(name)} there, {value} in this config"
        for name, value in about.items()
        if there.get(name) != json.loads(json.dumps(value))
    )
    if different:
        raise UserError(
            f"{folder} holds a run with other settings ({'; '.join(different)}); "
            "choose another --workdir or the old settings"
        )
