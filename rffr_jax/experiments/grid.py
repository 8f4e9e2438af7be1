"""The runs that a table of the paper asks for: every row, on every fakes, with every seed.

A training is known by what shapes its weights: its folder carries a digest of its config, so that
tables which ask for the same training share it, and a changed config is another training.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rffr_jax.config import Config, flat
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.weights import best_name

RULES = ("last", "source", "oracle", "transfer")
SHAPE_NOTHING = (
    "save_every",
    "log_every",
    "evaluation_batch_size",
    "data.workers",
    "data.cache",
    "mesh.fsdp",
    "remat",
    "residuals.folder",
    "residuals.memory_gb",
    "detector",  # a folder, which the run is in
)
"""Entries that leave the result as it is; by them two runs are still the same one."""

MEANT_FOR = {"unet": ("autoencoder", "unet"), "xception": ("detector.backbone", "xception")}
"""Sections that nothing reads unless another entry has a certain value."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A job's config and the folder that it fills."""

    config: Config
    folder: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Point:
    """One detector of a table, and how it is tested.

    Attributes:
      trained_on, method: labels of the fakes and of the row.
      rule: how the tested weights are chosen.
      pretrain: of the MAE or UNet; None for a detector without one.
      evaluations: by the label of a column; columns of one test set share one.
    """

    trained_on: str
    method: str
    rule: str
    seed: int
    mae_seed: int | None
    pretrain: Run | None
    detect: Run
    evaluations: dict[str, Run]


def grid(config: Config, trainings: pathlib.Path) -> list[Point]:
    """Every detector of a table under every rule, in the order of the rows.

    Args:
      config: of the job `experiment`; its inner jobs name the data as they lie on disk.
      trainings: the folder that all tables share.
    """
    _check(config)
    points = []
    for trained_on, fakes in config.trained_on.items():
        for row in config.rows.values():
            for mae_seed in config.mae_seeds if row.autoencoder else (None,):
                pretrain = None
                if mae_seed is not None:
                    pretrain = autoencoder_run(config, row.autoencoder, mae_seed, trainings)
                for seed in config.seeds:
                    detect = _detect(config, fakes, row, seed, pretrain, trainings)
                    for rule in config.rules:
                        points.append(
                            Point(
                                trained_on,
                                row.label,
                                rule,
                                seed,
                                mae_seed,
                                pretrain,
                                detect,
                                _evaluations(config, detect, rule),
                            )
                        )
    return points


def different(runs: Iterable[Run]) -> list[Run]:
    """Each run once, in their order."""
    return list({run.folder: run for run in runs}.values())


def _check(config: Config):
    for name in ("seeds", "mae_seeds", "rules", "columns"):
        if not len(config[name]):
            raise UserError(f"--config.{name} is empty; name at least one")
    for name in ("seeds", "mae_seeds"):
        seeds = config[name]
        if any(type(seed) is not int or seed < 0 for seed in seeds) or len({*seeds}) < len(seeds):
            raise UserError(f"--config.{name}={seeds}; name different whole numbers from 0 up")
    for rule in config.rules:
        if rule not in RULES:
            raise UserError(f"rules: {rule!r} is not known; choose of {', '.join(RULES)}")
    named = [*config.galleries, *(row.autoencoder for row in config.rows.values())]
    for name in named:
        if name and name not in config.autoencoders:
            raise UserError(
                f"autoencoders has no '{name}'; there are {', '.join(config.autoencoders)}"
            )
    if config.external and not config.rows:
        raise UserError(f"external={config.external}: {config.name} has no rows to stand beside")
    if not config.rows and not config.galleries:
        raise UserError("the table has neither rows nor galleries: nothing to do")
    if "transfer" in config.rules and not config.data.chosen_on:
        raise UserError("rules: transfer needs data.chosen_on, the foreign set that chooses")


def autoencoder_run(config: Config, name: str, seed: int, trainings: pathlib.Path) -> Run:
    """The pretraining of the autoencoder that the config calls `name`."""
    job = config.pretrain.copy_and_resolve_references()
    job.update(config.autoencoders[name])
    job.seed = seed
    name = f"{job.autoencoder}-k{job.blocks.k}-seed{seed}"
    return Run(job, trainings / folder_name(name, job, trainings))


def _detect(
    config: Config,
    fakes: Config,
    row: Config,
    seed: int,
    pretrain: Run | None,
    folder: pathlib.Path,
) -> Run:
    job = config.detect.copy_and_resolve_references()
    job.update(fakes)
    job.update(row.detect)
    job.seed = seed
    job.selection = "oracle"  # keeps the best weights for every validation curve, and the last
    of_mae = ""
    if pretrain is None:
        job.mae = ""
    else:
        job.mae = str(pretrain.folder)
        of_mae = pretrain.folder.name
        job.blocks.k = pretrain.config.blocks.k
    detector = job.detector
    reads = f"{detector.blocks}-{detector.inputs}"
    if detector.inputs != "original":
        reads += f"-{detector.residual}"
    learnt = "-".join(job.data.methods) or job.data.fakes
    name = f"{detector.backbone}-{reads}-{learnt}-seed{seed}"
    return Run(job, folder / folder_name(name, job, folder, of_mae))


def _evaluations(config: Config, detect: Run, rule: str) -> dict[str, Run]:
    runs = {}
    for label, column in config.columns.items():
        job = config.evaluate.copy_and_resolve_references()
        job.detector = str(detect.folder)
        job.checkpoint = checkpoint(config, detect.config, rule)
        job.data.tests = as_tuple(column.test)
        name = folder_name(rule, job, detect.folder.parent)
        runs[label] = Run(job, detect.folder / "evaluations" / name)
    return runs


def checkpoint(config: Config, detect: Config, rule: str) -> str:
    """The checkpoint that a rule means: `last`, `matched` or `best:NAME`."""
    if rule == "last":
        return "last"
    if rule == "oracle":
        return "matched"
    if rule == "transfer":
        return f"best:{best_name(_dataset_name(config.data.chosen_on))}"
    own = detect.data.methods[0] if len(detect.data.methods) == 1 else ""
    return f"best:{best_name(_dataset_name(detect.data.validation[0]), own)}"


def _dataset_name(spec: str | Sequence[str]) -> str:
    examples = load_dataset(spec, default_split="validation").examples
    return "+".join(sorted({example.dataset for example in examples}))


def as_tuple(specs: str | Sequence[str]) -> tuple[str, ...]:
    """One spec or several."""
    return (specs,) if isinstance(specs, str) else tuple(specs)


def folder_name(name: str, config: Config, trainings: pathlib.Path, of_mae: str = "") -> str:
    """A name to read, and a digest of every entry that shapes the result.

    Args:
      trainings: the folder that all tables share; where it lies changes nothing.
      of_mae: name of the folder of the MAE or UNet that the config names.
    """
    entries: dict[str, Any] = flat(json.loads(json.dumps(config.to_dict())))
    unread = {section for section, (name, value) in MEANT_FOR.items() if entries.get(name) != value}
    entries = {
        key: value
        for key, value in entries.items()
        if key not in SHAPE_NOTHING and key.partition(".")[0] not in unread
    }
    if "mae" in entries:
        entries["mae"] = of_mae
    text = json.dumps(entries, sort_keys=True).replace(f"{trainings.parent}/", "")
    readable = re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_")
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
