"""`rffr-jax runs [FOLDER] [--csv FILE]`: all runs below a folder in one table."""

import collections
import importlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.cluster.command_line import Parser
from rffr_jax.config import flat
from rffr_jax.errors import UserError
from rffr_jax.experiments.run_list import (
    ListedRun,
    changed_settings,
    find_runs,
    format_runs,
    runs_as_csv,
    table_of_runs,
)
from rffr_jax.runs.atomic_files import write_text

CONFIG_OF_JOB = {"mean_residual": "evaluate", "energy_reference": "evaluate"}
CUT = "Settings that did not fit are in the table that --csv FILE writes."


def main(arguments: Sequence[str]) -> int:
    """Prints the runs below a folder: state, job, settings that are not the job's default ones,
    last step and loss, AUC, seconds. Settings in which runs of a job differ stand first.

    Returns:
      The exit code.

    Raises:
      UserError: there is no such folder, or no run in it.
    """
    parser = Parser(prog="rffr-jax runs", description=__doc__)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path("runs"))
    parser.add_argument("--csv", type=pathlib.Path, metavar="FILE")
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        raise UserError(f"{given.folder}: no such folder; name one that holds runs")
    runs = find_runs(given.folder)
    if not runs:
        raise UserError(f"{given.folder} holds no run: no config.json of a job below it")
    defaults: dict[tuple[str, ...], Mapping[str, Any]] = {}

    def settings(run: ListedRun) -> dict[str, Any]:
        about = (run.job, run.config.get("name", ""), run.config.get("variant", ""))
        if about not in defaults:
            defaults[about] = _default_config(*about)
        changed = changed_settings(run, defaults[about])
        return dict(sorted(changed.items(), key=lambda item: len(values[run.job, item[0]]) == 1))

    values: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    for run in runs:
        for name, value in run.config.items():
            values[run.job, name].add(json.dumps(value))
    lines = table_of_runs(runs, given.folder, settings)
    table = format_runs(lines)
    print(table)
    if " more" in table:
        print(CUT)
    if given.csv:
        write_text(given.csv, runs_as_csv(lines))
    return 0


def _default_config(job: str, name: str, variant: str) -> Mapping[str, Any]:
    """The config of a job as its file has it; empty where this version has none."""
    module = f"paper.{name}" if variant else name or CONFIG_OF_JOB.get(job, job)
    try:
        config = importlib.import_module(f"configs.{module}")
        given = config.get_config(variant) if variant else config.get_config()
    except (ModuleNotFoundError, AttributeError, UserError):
        return {}
    return flat(json.loads(json.dumps(given.to_dict())))  # tuples are lists, as in config.json
