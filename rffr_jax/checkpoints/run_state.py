"""The newest full states of a run: what it resumes from.

Beside the `parameters` and `about` of any checkpoint they hold `training`: the optimizer's state
and what else a step carries on.
"""

import json
import pathlib
from typing import Any

import orbax.checkpoint as ocp
from jaxtyping import PyTree

from rffr_jax.checkpoints.weights import LATEST, is_checkpoint, newest_about, open_manager
from rffr_jax.errors import UserError


class RunCheckpoints:
    """The newest full states of a run, written in the background."""

    def __init__(self, workdir: pathlib.Path):
        self._manager = open_manager(workdir / LATEST, keep=2)

    def save(self, step: int, parameters: PyTree, training: PyTree, about: dict[str, Any]):
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                parameters=ocp.args.StandardSave(parameters),
                training=ocp.args.StandardSave(training),
                about=ocp.args.JsonSave(about),
            ),
        )

    def restore(self, parameters: PyTree, training: PyTree) -> tuple[int, PyTree, PyTree] | None:
        """The newest step and its state, or None where there is none yet."""
        step = self._manager.latest_step()
        if step is None:
            return None
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                parameters=ocp.args.StandardRestore(parameters),
                training=ocp.args.StandardRestore(training),
            ),
        )
        return step, restored["parameters"], restored["training"]

    def close(self):
        self._manager.wait_until_finished()
        self._manager.close()


def refuse_other_settings(workdir: pathlib.Path, about: dict[str, Any]):
    """Refuses a workdir whose run is of another model or task, before anything is written there.

    Raises:
      UserError: what the newest checkpoint says of itself is not `about`; the fields are named.
    """
    folder = workdir / LATEST
    if not is_checkpoint(folder):
        return
    there = newest_about(folder)
    different = sorted(
        f"{name}: {there.get(name)} there, {value} in this config"
        for name, value in about.items()
        if there.get(name) != _as_json(value)
    )
    if different:
        raise UserError(
            f"{folder} holds a run with other settings ({'; '.join(different)}); "
            "choose another --workdir or the old settings"
        )


def _as_json(value: object) -> object:
    return json.loads(json.dumps(value))
