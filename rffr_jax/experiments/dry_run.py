"""`--dry-run`: the runs of an experiment or a sweep, their order, and the time that they take."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
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
    *("autoencoder", "model", "unet", "rival", "blocks", "mask", "detector"),
    *("remat", "dtype"),
)
"""Sections that say how long an image takes."""


NOT_KNOWN = "not known"


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
    expected = {**config.get("expected_seconds", {})}
    at_once = 1 if config.get("sweep") else config.at_once
    print(describe_plan(runs, find_runs(shared), shared, expected, at_once))


def describe_plan(
    runs: Sequence[Run],
    listed: Sequence[ListedRun],
    shared: pathlib.Path,
    expected: Mapping[str, float] = MappingProxyType({}),
    at_once: int = 1,
) -> str:
    """The runs in their order, and the seconds that are left.

    Seconds are those of finished runs of the same kind, for as many images: the same job with the
    same models, whatever its data, seed and steps. Where there is none, those that the config
    expects count, else they are not known.

    Args:
      listed: runs that were found in `shared`.
      expected: seconds of an image of a training, or of a whole test, by the job.
      at_once: runs at a time, over which the time that is left is shared.
    """
    planned = {str(run.folder): flat(run.config.to_dict()) for run in runs}
    configs = {str(one.folder): one.config for one in listed} | planned
    per_image: dict[str, list[float]] = {}
    for one in listed:
        if one.state == DONE and one.seconds:
            kind = _kind(one.config, configs)
            per_image.setdefault(kind, []).append(one.seconds / _images(one.config))
    rows = [["", "run", "job", "images", "state", "seconds"]]
    left = 0.0
    for number, (run, config) in enumerate(zip(runs, planned.values(), strict=True), start=1):
        images, record = _images(config), read_record(run.folder)
        equal = per_image.get(_kind(config, configs))
        if is_done(run):
            state, seconds = DONE, f"{record['seconds']:.0f}"
        else:
            state, seconds = "resumes" if record["state"] else "to do", NOT_KNOWN
            if equal or run.config.job in expected:
                each = float(np.mean(equal)) if equal else expected[run.config.job]
                cost = each * images
                left += max(0.0, cost - record["seconds"])
                seconds = f"{'about' if equal else 'expected'} {cost:.0f}"
        name = run.folder.relative_to(shared).as_posix()
        trained = str(images) if "steps" in config else ""
        rows.append([str(number), name, run.config.job, trained, state, seconds])
    done = sum(row[4] == DONE for row in rows)
    unknown = sum(row[5] == NOT_KNOWN for row in rows)
    known = len(runs) - done - unknown
    total = f"{len(runs)} runs: {done} done, {len(runs) - done} to do"
    if known:
        left /= at_once
        order = "one after another" if at_once == 1 else f"{at_once} at a time"
        total += f"; about {left:.0f} s ({left / 3600:.1f} h), {order}, for {known} of them"
    if unknown:
        total += f"; for {unknown} not known: no run of that kind has finished in {shared}"
    return f"{markdown_table(rows)}\n\n{total}"


def _kind(config: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]]) -> str:
    """Equal for runs of which an image takes equally long; of a test, the detector counts, too.

    Args:
      configs: by folder.
    """
    kept = {k: v for k, v in config.items() if k.partition(".")[0] in COSTLY}
    kept.pop("detector.init", None)
    tested = configs.get(kept.pop("detector", ""), {})
    kept |= {name: config.get(name) for name in ("job", "data.tests", "data.inputs")}
    return json.dumps([kept, _kind(tested, {}) if tested else ""], sort_keys=True)


def _images(config: Mapping[str, Any]) -> int:
    """Images that a training sees; a test is counted as one whole."""
    return config["steps"] * config["batch_size"] if "steps" in config else 1
