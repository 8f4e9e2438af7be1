"""`--dry-run`: what an experiment or a sweep would do, in which order, and how long that takes."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.config import Config, flat
from rffr_jax.errors import UserError
from rffr_jax.experiments.experiment import list_experiment
from rffr_jax.experiments.run_list import ListedRun, find_runs
from rffr_jax.experiments.sweep import list_sweep
from rffr_jax.experiments.worker import Run, is_done
from rffr_jax.reports.markdown_table import markdown_table
from rffr_jax.runs.run_record import DONE, read_record

COSTLY = (
    "autoencoder",
    "model",
    "unet",
    "xception",
    "blocks",
    "mask",
    "detector",
    "remat",
    "dtype",
)
"""Sections that say how long an image takes."""


def run(config: Config, workdir: pathlib.Path):
    """Prints the plan; nothing is written.

    Raises:
      UserError: the job is neither an experiment nor a sweep, or would be refused.
    """
    if config.get("sweep"):
        runs, shared = list_sweep(config, workdir), workdir
    elif config.job == "experiment":
        plan = list_experiment(config, workdir)
        runs, shared = plan.runs, plan.shared
    else:
        raise UserError(
            f"--dry-run is for experiments and sweeps, and this is one run of {config.job}; add "
            "--config.sweep=KEY=VALUE,VALUE or leave the flag out"
        )
    print(describe_plan(runs, find_runs(shared), shared))


def describe_plan(runs: Sequence[Run], listed: Sequence[ListedRun], shared: pathlib.Path) -> str:
    """The runs in their order, and the seconds that are left.

    Seconds are those of finished runs of the same kind, for as many images: the same job with the
    same models, whatever its data, seed and steps. Where there is none they are not known.

    Args:
      listed: runs that were found in `shared`.
    """
    per_image: dict[str, list[float]] = {}
    for one in listed:
        if one.state == DONE and one.seconds:
            per_image.setdefault(_kind(one.config), []).append(one.seconds / _images(one.config))
    rows = [["", "run", "job", "state", "seconds"]]
    left, unknown, done = 0.0, 0, 0
    for number, run in enumerate(runs, start=1):
        config, record = flat(run.config.to_dict()), read_record(run.folder)
        if is_done(run):
            done += 1
            state, seconds = DONE, f"{record['seconds']:.0f}"
        else:
            state = "resumes" if record["state"] else "to do"
            equal = per_image.get(_kind(config))
            if equal is None:
                unknown += 1
                seconds = "not known"
            else:
                cost = float(np.mean(equal)) * _images(config)
                left += max(0.0, cost - record["seconds"])
                seconds = f"about {cost:.0f}"
        name = run.folder.relative_to(shared).as_posix()
        rows.append([str(number), name, run.config.job, state, seconds])
    to_do = len(runs) - done
    total = f"{len(runs)} runs: {done} done, {to_do} to do"
    if to_do > unknown:
        total += f"; about {left:.0f} s, one after another, for {to_do - unknown} of them"
    if unknown:
        total += f"; for {unknown} not known: no run of that kind has finished in {shared}"
    return f"{markdown_table(rows)}\n\n{total}"


def _kind(config: Mapping[str, Any]) -> str:
    """What runs have in common of which an image takes equally long."""
    kept = {k: v for k, v in config.items() if k.partition(".")[0] in COSTLY}
    for other in ("detector", "detector.init"):  # where weights come from
        kept.pop(other, None)
    kept |= {name: config.get(name) for name in ("job", "data.tests")}
    return json.dumps(kept, sort_keys=True)


def _images(config: Mapping[str, Any]) -> int:
    """Images that a training sees; a test is counted as one whole."""
    return config["steps"] * config["batch_size"] if "steps" in config else 1
