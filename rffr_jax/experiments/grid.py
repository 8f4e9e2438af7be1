"""The runs that a table asks for: every row, on every training set, with every seed.

A training is known by what shapes its weights: its folder carries a digest of its config and data,
so that tables which ask for the same training share it, and other settings or data are another
training. An experiment whose seeds have data of their own shares nothing: its folders are named by
rows.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

from rffr_jax.config import Config
from rffr_jax.data.specs import as_tuple, parse_spec
from rffr_jax.errors import UserError
from rffr_jax.experiments.run_key import RunKeys
from rffr_jax.experiments.worker import Run
from rffr_jax.runs.checkpoints.names import best_checkpoint_name
from rffr_jax.training.validation import name_validation_sets

RULES = ("last", "source", "oracle", "transfer")


@dataclasses.dataclass(frozen=True)
class TestedDetector:
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


@dataclasses.dataclass(frozen=True)
class Plan:
    """The runs of an experiment, from which its table is made.

    Attributes:
      shared: the folder that holds all runs.
      asked: the experiment's config, or that of its first seed.
      on_disk: the same with the data as they lie on disk.
      points: its detectors, those of all seeds.
      autoencoders: whose residuals are drawn, by name.
      localisations: of the same, where it is asked for.
    """

    shared: pathlib.Path
    asked: Config
    on_disk: Config
    points: Sequence[TestedDetector]
    autoencoders: Mapping[str, Run]
    localisations: Mapping[str, Run]

    @property
    def runs(self) -> list[Run]:
        """Every run once, those that others need first."""
        runs = [point.pretrain for point in self.points if point.pretrain]
        runs += [point.detect for point in self.points]
        runs += [run for point in self.points for run in point.evaluations.values()]
        runs += [*self.autoencoders.values(), *self.localisations.values()]
        return list({run.folder: run for run in runs}.values())


class Folders:
    """Where the trainings of an experiment lie.

    Args:
      root: the folder that holds them.
      readable: name them by rows, with a digest only where two would have one name; otherwise by
        what they are and by the digest of their config.
    """

    def __init__(self, root: pathlib.Path, readable: bool = False):
        self.root = root
        self.keys = RunKeys(root.parent, drawn=(root if readable else root.parent) / "data")
        self._readable = readable
        self._named: dict[str, pathlib.Path] = {}

    def of(self, name: str, label: str, key: str) -> pathlib.Path:
        """The folder of one training; the same key has the same folder."""
        if not self._readable:
            return self.root / f"{_as_file_name(name)}-{key}"
        folder = self.root / re.sub(r"[/\\\s]+", "_", label)
        if key not in self._named and folder in self._named.values():
            folder = folder.with_name(f"{folder.name}-{key}")
        return self._named.setdefault(key, folder)


def make_grid(config: Config, folders: Folders) -> list[TestedDetector]:
    """Every detector of a table under every rule, in the order of the rows.

    Args:
      config: of the job `experiment`; its inner jobs name the data as they lie on disk.
    """
    points = []
    for trained_on in config.trained_on:
        for row in config.rows.values():
            for mae_seed in config.mae_seeds if row.autoencoder else (None,):
                pretrain = None
                if mae_seed is not None:
                    pretrain = autoencoder_run(config, row.autoencoder, mae_seed, folders)
                for seed in config.seeds:
                    detect = _detector_run(config, trained_on, row, seed, pretrain, folders)
                    for rule in config.rules:
                        evaluations = _evaluation_runs(config, row, detect, rule, folders)
                        about = (trained_on, row.label, rule, seed, mae_seed)
                        points.append(TestedDetector(*about, pretrain, detect, evaluations))
    return points


def split_by_seed(config: Config) -> list[Config]:
    """The experiment as it is or, where it has no `mae_seeds`, one for each of its seeds.

    Each replicate has a MAE, and data whose specs say `{seed}`, of its own.
    """
    check_grid(config)
    if len(config.mae_seeds):
        return [config]
    copies = []
    for seed in config.seeds:
        copy = config.copy_and_resolve_references()
        copy.seeds = copy.mae_seeds = (seed,)
        for name, specs in copy.data.items():
            copy.data[name] = _fill_in_seed(specs, seed)
        for column in copy.columns.values():
            column.test = _fill_in_seed(column.test, seed)
        for fakes in copy.trained_on.values():
            if "train" in fakes.get("data", {}):
                fakes.data.train = _fill_in_seed(fakes.data.train, seed)
        copies.append(copy)
    return copies


def _fill_in_seed(specs: str | Sequence[str], seed: int) -> tuple[str, ...]:
    return tuple(spec.replace("{seed}", str(seed)) for spec in as_tuple(specs))


def check_grid(config: Config):
    """Raises: UserError where the grid makes no sense."""
    only_units = config.get("units", "").strip(",") and not len(config.mae_seeds)
    if not len(config.seeds) and not only_units:
        units = ", or --config.units of other machines" if "units" in config else ""
        raise UserError(f"--config.seeds is empty; name at least one{units}")
    if not len(config.rules):
        raise UserError("--config.rules is empty; name at least one")
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
    inits = {row.detect.get("detector", {}).get("init", "") for row in config.rows.values()}
    trained = {row.autoencoder for row in config.rows.values()}
    if not_trained := sorted((inits & {*config.autoencoders}) - trained):
        raise UserError(f"detector.init={not_trained[0]}: no row has this autoencoder")
    backbone = config.detect.backbone.weights
    for row in config.rows.values() if backbone in config.autoencoders else ():
        if not row.autoencoder:
            raise UserError(f"backbone.weights={backbone}: row {row.label!r} has no autoencoder")
    for job in ("pretrain", "detect"):
        if config[job].sweep:
            raise UserError(f"--config.{job}.sweep: a sweep is of one job; start rffr-jax {job}")
    if config.columns and len(control_columns(config)) == len(config.columns):
        raise UserError("every column is a control; add one that tests on fakes")
    if config.external and not config.rows:
        raise UserError(
            f"external={config.external}: {config.name} has no rows to stand beside; leave it out"
        )
    if not config.rows and not config.galleries:
        raise UserError("the table has neither rows nor galleries; give it some")
    if config.external and not config.mae_seeds:
        raise UserError(
            f"external={config.external}: every seed has a test set of its own; leave it out"
        )
    if "transfer" in config.rules and len(as_tuple(config.data.chosen_on)) != 1:
        raise UserError(
            "rules: transfer needs data.chosen_on; name the one foreign set that chooses"
        )


def autoencoder_run(config: Config, name: str, seed: int, folders: Folders) -> Run:
    """The training of the autoencoder that the config calls `name`.

    Its entry changes the job `pretrain`, or is the row of a rival that reconstructs.
    """
    entry = config.autoencoders[name]
    if "detect" in entry:
        return _detector_run(config, next(iter(config.trained_on)), entry, seed, None, folders)
    job = config.pretrain.copy_and_resolve_references()
    job.update(entry)
    job.seed = seed
    full_name = f"{job.autoencoder}-k{job.blocks.k}-seed{seed}"
    key = folders.keys.of(job)
    return Run(job, folders.of(full_name, name, key), key=key)


def _detector_run(
    config: Config,
    trained_on: str,
    row: Config,
    seed: int,
    pretrain: Run | None,
    folders: Folders,
) -> Run:
    job = config.detect.copy_and_resolve_references()
    job.update(config.trained_on[trained_on])
    with job.rival.unlocked():
        job.rival.update(row.detect.get("rival", {}))
    job.update(row.detect)
    job.seed = seed
    job.mae, models = "", {}
    prerequisites: tuple[pathlib.Path, ...] = ()
    if pretrain is not None:
        job.mae = str(pretrain.folder)
        models["mae"] = with_key(pretrain, pretrain.folder.name)
        job.blocks.k = pretrain.config.blocks.k
        prerequisites = (pretrain.folder,)
        for section, entry in (("detector", "init"), ("backbone", "weights")):
            if job[section][entry] in config.autoencoders:
                name = job[section][entry]
                start = autoencoder_run(config, name, pretrain.config.seed, folders)
                job[section][entry] = str(start.folder)
                models[f"{section}.{entry}"] = with_key(start, str(start.folder))
                prerequisites = (*prerequisites, start.folder)
    detector = job.detector
    reads = f"{detector.blocks}-{detector.inputs}"
    if detector.inputs != "original":
        reads += f"-{detector.residual}"
    learnt = "-".join(job.data.methods) or job.data.fakes
    name = f"{detector.backbone}-{reads}-{learnt}-seed{seed}"
    key = folders.keys.of(job, models)
    label = row.label if len(config.trained_on) == 1 else f"{row.label} {trained_on}"
    return Run(job, folders.of(name, label, key), prerequisites, key)


def with_key(run: Run, name: str) -> str:
    """A run's name with its key, which a readable folder lacks."""
    return name if run.folder.name.endswith(run.key) else f"{name}-{run.key}"


def _evaluation_runs(
    config: Config, row: Config, detect: Run, rule: str, folders: Folders
) -> dict[str, Run]:
    runs = {}
    checkpoint = checkpoint_of_rule(config, detect.config, rule)
    for label, column in config.columns.items():
        job = config.evaluate.copy_and_resolve_references()
        job.job = row.get("evaluation", job.job)
        job.detector = str(detect.folder)
        job.checkpoint = checkpoint
        job.data.tests = as_tuple(column.test)
        key = folders.keys.of(job)
        folder = detect.folder / "evaluations" / f"{rule}-{key}"
        runs[label] = Run(job, folder, (detect.folder,), key)
    return runs


def checkpoint_of_rule(config: Config, detect: Config, rule: str) -> str:
    """The checkpoint that a rule means: `last`, `matched` or `best:NAME`.

    Raises:
      UserError: the detector is not validated on the foreign set that the rule `transfer` needs.
    """
    if rule == "last":
        return "last"
    if rule == "oracle":
        return "matched"
    validation = name_validation_sets(detect.data.validation)
    if rule == "transfer":
        (chosen_on,) = as_tuple(config.data.chosen_on)
        for name, (spec, _) in validation.items():
            if spec == chosen_on:
                return f"best:{best_checkpoint_name(name)}"
        raise UserError(
            f"rules: transfer chooses on data.chosen_on={chosen_on}, which data.validation lacks; "
            "add it there"
        )
    own = detect.data.methods[0] if len(detect.data.methods) == 1 else ""
    return f"best:{best_checkpoint_name(next(iter(validation)), own)}"


def _as_file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_")


def control_columns(config: Config) -> tuple[str, ...]:
    """The columns that test on reals under controls."""
    return tuple(
        label
        for label, column in config.columns.items()
        if any(parse_spec(spec).controls for spec in as_tuple(column.test))
    )
