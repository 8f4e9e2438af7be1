"""Job `experiment`: a table or figure of the paper, from its trainings to its report.

What is done is found and not done again, so a stopped run goes on, and tables that ask for the
same training share it.
"""

import json
import logging
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from rffr_jax.cluster import processes
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config
from rffr_jax.data.origins import honest_note
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.evaluation.localisation import format_localisation
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.results import ABOUT, against_all_reals
from rffr_jax.examples import Dataset
from rffr_jax.experiments.drawn import drawn
from rffr_jax.experiments.figures import plot_bars, plot_validation_curves, validation_curves
from rffr_jax.experiments.galleries import draw_gallery
from rffr_jax.experiments.grid import (
    Point,
    Run,
    as_tuple,
    autoencoder_run,
    different,
    folder_name,
    grid,
)
from rffr_jax.experiments.inference_time import seconds_an_image
from rffr_jax.experiments.measured import Claim, Measured, Table
from rffr_jax.experiments.needs import external_tables, require_all
from rffr_jax.experiments.report import write_report
from rffr_jax.experiments.table_formats import format_markdown
from rffr_jax.experiments.tables import table_of, write_tables
from rffr_jax.experiments.trainer import SECONDS_BETWEEN_QUESTIONS, run_all, seconds_of
from rffr_jax.runs.lock import in_use, locked
from rffr_jax.runs.workdir import write_config

log = logging.getLogger(__name__)


def run(config: Config, workdir: pathlib.Path):
    """Runs the grid; writes the table in four formats, the figures and report.html."""
    if processes.count() > 1:
        raise UserError(
            f"an experiment starts its trainings itself, and this run has {processes.count()} "
            "processes; start it without srun or mpirun, with --config.at_once=GPUS"
        )
    shared = pathlib.Path(os.path.normpath(workdir / config.shared))
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        # Rows and seeds share programs: each is compiled once.
        jax.config.update("jax_compilation_cache_dir", str((shared / "compiled").absolute()))
    with locked(workdir):
        _refuse_other_table(workdir, config)
        require_all(config)
        write_config(workdir, config)
        while in_use(shared / "data"):
            log.info("another run draws %s; waiting for it", shared / "data")
            time.sleep(SECONDS_BETWEEN_QUESTIONS)
        with locked(shared / "data", "--config.shared"):
            on_disk = with_data_on_disk(config, shared / "data")
        points = grid(on_disk, shared / "trainings")
        autoencoders = [
            autoencoder_run(on_disk, name, config.mae_seeds[0], shared / "trainings")
            for name in config.galleries
        ]
        pretrainings = [point.pretrain for point in points if point.pretrain] + autoencoders
        run_all(different(pretrainings), config.at_once)
        run_all(different(point.detect for point in points), config.at_once)
        run_all(
            different(run for point in points for run in point.evaluations.values()),
            config.at_once,
        )
        measured = [_measured(on_disk, point) for point in points]
        _write(
            workdir,
            config,
            on_disk,
            measured,
            dict(zip(config.galleries, autoencoders, strict=True)),
        )


# ---- data


def _refuse_other_table(workdir: pathlib.Path, config: Config):
    file = workdir / "config.json"
    if not file.exists():
        return
    there = json.loads(file.read_text(encoding="utf-8"))
    if there.get("job") == config.job and (there["name"], there["variant"]) != (
        config.name,
        config.variant,
    ):
        raise UserError(
            f"--workdir={workdir} holds {there['name']}:{there['variant']}; name another folder "
            f"for {config.name}:{config.variant}"
        )


def with_data_on_disk(config: Config, folder: pathlib.Path) -> Config:
    """The config with its data handed to the inner jobs, procedural data drawn to files.

    Self-blended fakes need landmarks, which files of procedural faces lack: rows that make them
    draw their training data as they go.
    """
    config = config.copy_and_resolve_references()
    size = config.detect.model.image_size

    def on_disk(specs: str | Sequence[str], split: str) -> tuple[str, ...]:
        return drawn(as_tuple(specs), folder, size, split)

    config.pretrain.data.train = on_disk(config.data.pretrain, "train")
    config.pretrain.data.validation = on_disk(config.data.pretrain_validation, "validation")
    config.detect.data.train = on_disk(config.data.train, "train")
    config.detect.data.validation = on_disk(config.data.validation, "validation")
    config.data.chosen_on = on_disk(config.data.chosen_on, "validation")
    for overrides in (
        *config.autoencoders.values(),
        *config.trained_on.values(),
        *(row.detect for row in config.rows.values()),
    ):
        data = overrides.get("data", {})
        for name, split in (("train", "train"), ("validation", "validation")):
            if name in data and data.get("fakes", "given") == "given":
                data[name] = on_disk(data[name], split)
    for column in config.columns.values():
        column.test = on_disk(column.test, "test")
    return config


# ---- numbers


def _measured(config: Config, point: Point) -> Measured:
    aucs, intervals, rules = {}, {}, {}
    for label, column in config.columns.items():
        run = point.evaluations[label]
        table = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
        entry = _entry(table, column)
        interval = entry["auc_ci95"]
        aucs[label] = entry["auc"]
        intervals[label] = None if interval is None else (interval[0], interval[1])
        rules[label] = table[ABOUT]["rule"]
    return Measured(
        trained_on=point.trained_on,
        method=point.method,
        rule=point.rule,
        seed=point.seed,
        mae_seed=point.mae_seed,
        aucs=aucs,
        intervals=intervals,
        rules=rules,
        training=point.detect.folder,
        evaluations={label: run.folder for label, run in point.evaluations.items()},
        autoencoder=point.pretrain.folder if point.pretrain else None,
        seconds=seconds_of(point.detect.folder),
        inference_seconds=seconds_an_image(point.detect.folder) if config.time_inference else None,
    )


def _entry(table: dict[str, Any], column: Config) -> dict[str, Any]:
    (dataset,) = (entry for name, entry in table.items() if name != ABOUT)
    return dataset["methods"][column.method] if column.method else dataset["pooled"]


def _write(
    workdir: pathlib.Path,
    config: Config,
    on_disk: Config,
    measured: Sequence[Measured],
    autoencoders: Mapping[str, Run],
):
    columns = _predictions(on_disk, measured)
    tests = load_dataset(_tests(on_disk), default_split="test")
    table = Table(
        name=config.name,
        variant=config.variant,
        title=config.title,
        columns=tuple(config.columns),
        seen={label: _seen(config, fakes) for label, fakes in config.trained_on.items()},
        note=honest_note(tests.examples),
        claims=tuple(Claim(**claim.to_dict()) for claim in config.claims.values()),
        external=external_tables(config),
        command=config.command,
    )
    summary = table_of(table, measured, columns)
    if measured:
        write_tables(workdir, summary)
        print(format_markdown(summary))
    names = {label: column.method for label, column in on_disk.columns.items() if column.method}
    if "bars" in config.figures:
        plot_bars(workdir / config.name, summary)
    if "curves" in config.figures:
        curves = validation_curves(measured, table.columns, names)
        plot_validation_curves(
            workdir / config.name, curves, config.title, table.note, config.smoothing
        )
    galleries = _draw_galleries(workdir, config, on_disk, tests, autoencoders)
    localisation = _localise(config, autoencoders) if config.localise else {}
    for name, text in localisation.items():
        print(f"{name}:\n{text}\n")
    write_report(
        workdir,
        table,
        measured,
        summary,
        galleries,
        localisation=localisation,
        tests=tests,
        names=names,
        window=config.smoothing,
    )
    log.info("all of it, with pictures: %s", workdir / "report.html")


def _predictions(config: Config, measured: Sequence[Measured]) -> dict[str, Predictions]:
    """Of the first detector, for each column: reals and the column's fakes."""
    columns = {}
    for label, folder in measured[0].evaluations.items() if measured else ():
        predictions = Predictions.read_csv(folder / "predictions.csv")
        method = config.columns[label].method
        columns[label] = against_all_reals(predictions, method) if method else predictions
    return columns


def _tests(config: Config) -> list[str]:
    return list(
        dict.fromkeys(spec for column in config.columns.values() for spec in as_tuple(column.test))
    )


def _draw_galleries(
    workdir: pathlib.Path,
    config: Config,
    on_disk: Config,
    tests: Dataset,
    autoencoders: Mapping[str, Run],
) -> dict[str, pathlib.Path]:
    """Real and fake faces of the test, what all autoencoders make of them, and the residuals."""
    if not autoencoders:
        return {}
    folders = {name: run.folder for name, run in autoencoders.items()}
    stem = workdir / (config.name if not config.rows else "residuals")
    try:
        return {"Test faces": draw_gallery(stem, tests, folders, make_mesh(), on_disk.evaluate)}
    except UserError as error:
        if not config.rows:
            raise
        log.warning("no pictures of residuals: %s", error)
        return {}


def _localise(config: Config, autoencoders: Mapping[str, Run]) -> dict[str, str]:
    """Whether residuals lie where fakes were made, as a text for each autoencoder.

    The masks of procedural fakes are not in files: they are drawn again.
    """
    runs = {}
    for name, autoencoder in autoencoders.items():
        job = config.residual.copy_and_resolve_references()
        job.mae = str(autoencoder.folder)
        job.data.inputs = as_tuple(config.data.masks)
        folder = autoencoder.folder
        runs[name] = Run(job, folder / folder_name("localisation", job, folder.parent))
    run_all(list(runs.values()), config.at_once)
    found = {
        name: json.loads((run.folder / "localisation.json").read_text(encoding="utf-8"))
        for name, run in runs.items()
    }
    return {name: format_localisation(entry["methods"]) for name, entry in found.items()}


def _seen(config: Config, fakes: Config) -> tuple[str, ...]:
    """The columns whose fakes are of a method that is trained on, of the data that are."""
    methods = fakes.get("data", {}).get("methods", ())
    return tuple(
        label
        for label, column in config.columns.items()
        if column.method and (column.method in methods or not methods)
    )
