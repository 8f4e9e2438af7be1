"""A sweep: one training for each value of a setting, or for each combination of several.

    --config.sweep="blocks.alpha=2,4,8;seed=0,1"

Each is a run in a folder of its own below the workdir. What is done is not done again, so a stopped
sweep resumes, and several commands on one workdir share its runs.
"""

import copy
import itertools
import pathlib
import re

from absl import flags
from ml_collections import config_flags

from rffr_jax.config import Config, check_config, flat
from rffr_jax.errors import UserError
from rffr_jax.experiments.run_key import RunKeys
from rffr_jax.experiments.run_list import find_runs, format_runs, runs_as_csv, table_of_runs
from rffr_jax.experiments.worker import Run, require_one_process, run_all
from rffr_jax.runs.atomic_files import write_text

EXAMPLE = 'write for example --config.sweep="blocks.alpha=2,4,8;seed=0,1"'


def run(config: Config, workdir: pathlib.Path):
    """Trains at every point; prints a table of the runs and writes it as sweep.csv."""
    require_one_process("a sweep")
    runs = list_sweep(config, workdir)
    run_all(runs, 1, workdir)
    folders = {run.folder for run in runs}
    names = list(parse_sweep(config))
    listed = [one for one in find_runs(workdir) if one.folder in folders]
    lines = table_of_runs(listed, workdir, lambda one: {n: one.config[n] for n in names})
    write_text(workdir / "sweep.csv", runs_as_csv(lines))
    print(format_runs(lines))


def list_sweep(config: Config, workdir: pathlib.Path) -> list[Run]:
    """A run for each point, in the order of the values, the last setting changing fastest.

    Raises:
      UserError: as `parse_sweep`, or a value that the job cannot have.
    """
    values = parse_sweep(config)
    keys = RunKeys(workdir, drawn=workdir / "data")
    runs = []
    for point in itertools.product(*values.values()):
        settings = dict(zip(values, point, strict=True))
        job = _with_settings(config, settings)
        name = ",".join(f"{key}={value}" for key, value in settings.items())
        folder = workdir / re.sub(r"[^A-Za-z0-9=,._+-]+", "_", name)
        runs.append(Run(job, folder, key=keys.of(job)))
    if len({run.folder for run in runs}) < len(runs):
        raise UserError(f"--config.sweep={config.sweep}: two points are the same; name each once")
    return runs


def parse_sweep(config: Config) -> dict[str, list[str]]:
    """The values of each setting of `config.sweep`.

    Raises:
      UserError: a setting without values, twice, or that the job does not have.
    """
    there = flat(config.to_dict())
    values: dict[str, list[str]] = {}
    for part in config.sweep.split(";"):
        name, _, listed = part.strip().partition("=")
        name = name.strip()
        if name not in there or name in ("job", "sweep"):
            raise UserError(f"--config.sweep={config.sweep}: no setting '{name}'; {EXAMPLE}")
        given = [value.strip() for value in listed.split(",")]
        if not all(given) or name in values:
            raise UserError(
                f"--config.sweep={config.sweep}: '{part}' has no values, or is there twice; "
                f"{EXAMPLE}"
            )
        values[name] = given
    return values


def _with_settings(config: Config, settings: dict[str, str]) -> Config:
    """The config of one point; values are read as flags are."""
    job, values = copy.deepcopy(config), flags.FlagValues()
    given = ["sweep", *(f"--config.{name}={value}" for name, value in settings.items())]
    config_flags.DEFINE_config_dict("config", job, flag_values=values, sys_argv=given)
    try:
        values(given)
    except (flags.Error, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--config.sweep={config.sweep}: {reason}; {EXAMPLE}") from error
    job.sweep = ""
    check_config(job)
    return job
