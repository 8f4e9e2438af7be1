"""The files of an experiment whose runs are done: table, figures, galleries, report."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.config import Config
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.data.specs import as_tuple, load_dataset
from rffr_jax.errors import UserError
from rffr_jax.evaluation.localisation import format_localisation
from rffr_jax.evaluation.paired_comparison import read_scores as read_evaluation
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.results import ABOUT, select_method_and_reals
from rffr_jax.examples import Dataset
from rffr_jax.experiments import mean_residual
from rffr_jax.experiments.auc_replicates import AucReplicates, ReadScores
from rffr_jax.experiments.claims import read_claims
from rffr_jax.experiments.figures import plot_bars, plot_validation_curves, validation_curves
from rffr_jax.experiments.galleries import draw_gallery
from rffr_jax.experiments.grid import Plan, TestedDetector, control_columns
from rffr_jax.experiments.inference_time import measure_inference_time
from rffr_jax.experiments.kept_units import joined_reader, read_units, write_units
from rffr_jax.experiments.prerequisites import external_tables
from rffr_jax.experiments.report import write_report
from rffr_jax.experiments.run_result import RunResult, TableSpec
from rffr_jax.experiments.table_formats import format_markdown
from rffr_jax.experiments.tables import build_table, write_tables
from rffr_jax.experiments.worker import Run
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.runs.run_record import read_record
from rffr_jax.training.reconstruction_check import read_reconstruction_check
from rffr_jax.training.reference_check import read_reference_check

log = logging.getLogger(__name__)


def write_outputs(workdir: pathlib.Path, config: Config, plan: Plan):
    """Writes NAME.json, .csv, .md and .tex, the figures NAME_bars and NAME_curves (.png, .pdf)
    where they are asked for, and report.html; prints the table. Without seeds there are no curves
    and no report.

    Args:
      config: of the experiment, for all of its seeds.
      plan: of its runs, which are done.
    """
    asked, on_disk = plan.asked, plan.on_disk
    results = [_read_result(asked, point) for point in plan.points]
    controls = control_columns(asked)
    # Without seeds there is a table of other machines' units, and no picture.
    specs = _test_specs(on_disk, controls)
    tests = load_dataset(specs, default_split="test") if len(config.seeds) else None
    table = TableSpec(
        name=asked.name,
        variant=asked.variant,
        title=asked.title,
        columns=tuple(asked.columns),
        seen={label: _trained_columns(asked, fakes) for label, fakes in asked.trained_on.items()},
        note=synthetic_data_note(tests.examples) if tests else "",
        remarks=_describe_mean_residuals(plan.points),
        claims=read_claims(asked, plan.points),
        external=external_tables(asked),
        command=asked.command,
        controls=controls,
    )
    methods = {label: column.method for label, column in on_disk.columns.items()}
    read_scores = _score_reader(methods)
    columns = {c: read_scores(results[0], c) for c in methods} if table.external else {}
    everyone, read_all = results, read_scores
    if "units" in asked:
        write_units(workdir / "units", config, results, read_scores)
        kept = read_units(config.units, config, config.seeds)
        everyone = [*results, *kept.results]
        read_all = joined_reader(kept, read_scores)
    summary = build_table(table, everyone, columns, AucReplicates(everyone, read_all))
    if everyone:
        write_tables(workdir, summary)
        print(format_markdown(summary))
    names = {label: method for label, method in methods.items() if method}
    if "bars" in asked.figures:
        plot_bars(workdir / f"{asked.name}_bars", summary)
    if tests is None:
        return
    if "curves" in asked.figures:
        curves = validation_curves(results, table.columns, names)
        plot_validation_curves(
            workdir / f"{asked.name}_curves", curves, asked.title, table.note, asked.smoothing
        )
    galleries = _draw_galleries(workdir, on_disk, tests, plan.autoencoders)
    localisation = {name: _read_localisation(run) for name, run in plan.localisations.items()}
    for name, text in localisation.items():
        print(f"{name}:\n{text}\n")
    write_report(
        workdir,
        table,
        [_without_columns(result, controls) for result in results],
        summary,
        galleries,
        localisation=localisation,
        tests=tests,
        names=names,
        window=asked.smoothing,
    )
    pictures = [workdir / "report.html", *galleries.values()]
    pretrained = [run for run in plan.autoencoders.values() if run.config.job == "pretrain"]
    pictures += [run.folder / "samples" for run in pretrained]
    print(f"pictures: {', '.join(map(str, pictures))}")


def _read_result(config: Config, point: TestedDetector) -> RunResult:
    aucs, intervals, rules = {}, {}, {}
    tests_training = all(run.config.job == "evaluate" for run in point.evaluations.values())
    for label, column in config.columns.items():
        table = read_json_object(point.evaluations[label].folder / "results.json")
        (dataset,) = (entry for name, entry in table.items() if name != ABOUT)
        entry = dataset["methods"][column.method] if column.method else dataset["pooled"]
        interval = entry["auc_ci95"]
        aucs[label] = entry["auc"]
        intervals[label] = None if interval is None else (interval[0], interval[1])
        rules[label] = table[ABOUT]["rule"]
    return RunResult(
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
        seconds=read_record(point.detect.folder)["seconds"],
        inference_seconds=measure_inference_time(point.detect.folder, config.evaluate)
        if config.time_inference
        else None,
        mae_check=read_reconstruction_check(point.pretrain.folder) if point.pretrain else {},
        detector_check=read_reference_check(point.detect.folder) if tests_training else {},
        tests_training=tests_training,
    )


def _describe_mean_residuals(points: Sequence[TestedDetector]) -> tuple[str, ...]:
    """In words, where a row of the table scores by them."""
    runs = {
        run.folder: Predictions.read_csv(run.folder / "predictions.csv")
        for point in points
        for run in point.evaluations.values()
        if run.config.job == "mean_residual"
    }
    return (mean_residual.describe_mean_residuals(runs.values()),) if runs else ()


def _score_reader(methods: Mapping[str, str]) -> ReadScores:
    """Reads the scores that a run's AUC in a column is of, each evaluation once.

    Args:
      methods: of each column; '' for all.
    """
    read = functools.cache(lambda folder: read_evaluation(folder)[0])

    @functools.cache
    def of_column(folder: pathlib.Path, column: str) -> Predictions:
        found, method = read(folder), methods[column]
        if not method:
            return found.predictions
        own = [part for (_, of), part in found.matched.items() if of == method]
        return own[0] if own else select_method_and_reals(found.predictions, method)

    return lambda run, column: of_column(run.evaluations[column], column)


def _without_columns(result: RunResult, columns: Collection[str]) -> RunResult:
    """The result as the pictures of a report show it, without the tests of some columns."""
    kept = {label: run for label, run in result.evaluations.items() if label not in columns}
    return dataclasses.replace(result, evaluations=kept)


def _test_specs(config: Config, left_out: Collection[str]) -> list[str]:
    columns = [column for label, column in config.columns.items() if label not in left_out]
    return list(dict.fromkeys(spec for column in columns for spec in as_tuple(column.test)))


def _draw_galleries(
    workdir: pathlib.Path, on_disk: Config, tests: Dataset, autoencoders: Mapping[str, Run]
) -> dict[str, pathlib.Path]:
    """Real and fake faces of the test, what all autoencoders make of them, and the residuals."""
    if not autoencoders:
        return {}
    folders = {name: run.folder for name, run in autoencoders.items()}
    stem = workdir / (on_disk.name if not on_disk.rows else "residuals")
    try:
        return {"Test faces": draw_gallery(stem, tests, folders, make_mesh(), on_disk.evaluate)}
    except UserError as error:
        if not on_disk.rows:
            raise
        log.warning("no pictures of residuals: %s", error)
        return {}


def _read_localisation(run: Run) -> str:
    """Whether residuals lie where fakes were made, as a text."""
    found: dict[str, Any] = read_json_object(run.folder / "localisation.json")
    return format_localisation(found["methods"])


def _trained_columns(config: Config, fakes: Config) -> tuple[str, ...]:
    """The columns whose fakes are of a method that is trained on, of the data that are."""
    data = fakes.get("data", {})
    methods = data.get("methods", ())
    if data.get("fakes", "given") != "given":
        methods = (data.fakes,)
    return tuple(
        label
        for label, column in config.columns.items()
        if column.method
        and (column.method in methods or not methods)
        and label not in control_columns(config)
    )
