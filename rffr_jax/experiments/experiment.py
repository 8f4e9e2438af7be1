"""Job `experiment`: a table or figure, from its trainings to its report.

A finished training is found and not made again. So a stopped run resumes, and tables that ask for
the same training share it. Several commands on one workdir share its runs; each writes the table.
"""

import os
import pathlib
from collections.abc import Sequence
from contextlib import nullcontext

import jax

from rffr_jax.config import Config
from rffr_jax.data.specs import as_tuple, load_dataset
from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE
from rffr_jax.experiments.draw_to_disk import with_data_on_disk
from rffr_jax.experiments.grid import (
    Folders,
    Plan,
    autoencoder_run,
    make_grid,
    split_by_seed,
    with_key,
)
from rffr_jax.experiments.kept_units import read_units
from rffr_jax.experiments.outputs import write_outputs
from rffr_jax.experiments.prerequisites import require_prerequisites
from rffr_jax.experiments.worker import Run, require_one_process, run_all
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.runs.lock import PATIENCE, locked_folder, try_lock
from rffr_jax.runs.run_record import recorded_run
from rffr_jax.runs.workdir import refuse_other_config, write_config

MAY_CHANGE = (
    *("seeds", "rules", "columns", "at_once", "command", "title"),
    *("figures", "galleries", "smoothing", "time_inference", "units"),
)
"""What an experiment with readable folders may resume with otherwise than it began."""


def run(config: Config, workdir: pathlib.Path):
    """Runs the grid; writes the table in five formats, the figures and report.html."""
    require_one_process("an experiment")
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        # Rows and seeds share programs: each is compiled once.
        compiled = _shared_folder(config, workdir) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(compiled.absolute()))
    with locked_folder(workdir, wait=True):
        asked = _checked_configs(config, workdir)
        write_config(workdir, config)
    # The lock is that of a run at work; other commands on this workdir do without it.
    with try_lock(workdir / ".worker", PATIENCE), recorded_run(workdir):
        plan = make_plan(config, asked, workdir, draw=True)
        run_all(plan.runs, config.at_once, workdir)
        with locked_folder(workdir, wait=True):
            write_config(workdir, config)
            write_outputs(workdir, config, plan)


def list_experiment(config: Config, workdir: pathlib.Path) -> Plan:
    """The plan of `run`; nothing is written.

    Data that are not drawn yet are named by their specs, so that their runs have other folders.

    Raises:
      UserError: as `run`, before its first training.
    """
    return make_plan(config, _checked_configs(config, workdir), workdir, draw=False)


def _checked_configs(config: Config, workdir: pathlib.Path) -> list[Config]:
    """The experiment, or one for each of its seeds, with all that it needs in place."""
    asked = [add_columns_from_data(one) for one in split_by_seed(config)]
    _refuse_other_table(workdir, _shared_folder(config, workdir), config)
    for one in asked:
        require_prerequisites(one)
    if "units" in config:
        read_units(config.units, config, config.seeds)
    return asked


def make_plan(
    config: Config, asked: Sequence[Config], workdir: pathlib.Path, *, draw: bool
) -> Plan:
    """The runs of an experiment; procedural data are drawn to disk on the way if `draw` says so."""
    shared = _shared_folder(config, workdir)
    on_disk, points, folders = [], [], []
    for one in asked:
        data, trainings = _data_and_training_folders(config, one, shared)
        folders.append(trainings)
        with locked_folder(data, "--config.shared", wait=True) if draw else nullcontext():
            by_split = _has_data_per_seed(config)
            on_disk.append(with_data_on_disk(one, data, by_split=by_split, draw=draw))
        points.append(make_grid(on_disk[-1], trainings))
    # Without seeds all units are of other machines, and there is no MAE here that draws anything.
    first = on_disk[0] if on_disk else config
    autoencoders = {
        name: autoencoder_run(first, name, first.mae_seeds[0], folders[0])
        for name in (first.galleries if on_disk else ())
    }
    localised = first.localise and on_disk
    localisations = _localisation_runs(first, autoencoders, folders[0]) if localised else {}
    tested = [point for of_seed in points for point in of_seed]
    return Plan(shared, asked[0] if asked else config, first, tested, autoencoders, localisations)


def _shared_folder(config: Config, workdir: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(os.path.normpath(workdir / config.shared))


def add_columns_from_data(config: Config) -> Config:
    """The config with what it leaves to its data: `trained_method`, and every method of the test.

    Several data sets have columns of their own.
    """
    config = config.copy_and_resolve_references()
    config.unlock()
    trained = config.get("trained_method", "")
    if trained:
        config.trained_on = {trained: {"data": {"methods": (trained,)}}}
    if config.rows and not config.columns:
        specs: dict[str, list[str]] = {}
        methods: dict[str, set[str]] = {}
        for spec in as_tuple(config.data.test):
            examples = load_dataset(spec, default_split="test").examples
            dataset = examples[0].dataset
            specs.setdefault(dataset, []).append(spec)
            there = methods.setdefault(dataset, set())
            there |= {e.method for e in examples if e.label == FAKE}
        for dataset, test in specs.items():
            for method in methods[dataset]:
                label = method if len(specs) == 1 else f"{method}, {dataset}"
                config.columns[label] = {"test": tuple(test), "method": method}
    return config


def _has_data_per_seed(config: Config) -> bool:
    """Whether every seed has data and trainings of its own, in folders with readable names."""
    return not len(config.mae_seeds)


def _data_and_training_folders(
    config: Config, replicate: Config, shared: pathlib.Path
) -> tuple[pathlib.Path, Folders]:
    """The folder of the data, and those of the trainings."""
    if not _has_data_per_seed(config):
        return shared / "data", Folders(shared / "trainings")
    folder = shared / f"seed_{replicate.seeds[0]}"
    return folder / "data", Folders(folder, readable=True)


def _refuse_other_table(workdir: pathlib.Path, shared: pathlib.Path, config: Config):
    file = workdir / "config.json"
    if not file.exists():
        return
    there = read_json_object(file)
    if there.get("job") != config.job:
        return  # write_config refuses it
    if (there["name"], there["variant"]) != (config.name, config.variant):
        raise UserError(
            f"--workdir={workdir} holds {there['name']}:{there['variant']}; name another folder "
            f"for {config.name}:{config.variant}"
        )
    if _has_data_per_seed(config):
        refuse_other_config(
            workdir, config, begun=any(shared.glob("seed_*")), may_change=MAY_CHANGE
        )


def _localisation_runs(
    config: Config, autoencoders: dict[str, Run], folders: Folders
) -> dict[str, Run]:
    """Runs that measure whether residuals lie where fakes were made, for each autoencoder.

    The masks of procedural fakes are not in files: they are drawn again.
    """
    runs = {}
    for name, autoencoder in autoencoders.items():
        job = config.residual.copy_and_resolve_references()
        job.mae = str(autoencoder.folder)
        job.data.inputs = as_tuple(config.data.masks)
        folder = autoencoder.folder
        key = folders.keys.of(job, {"mae": with_key(autoencoder, str(folder))})
        runs[name] = Run(job, folder / f"localisation-{key}", (folder,), key)
    return runs
