"""`rffr-jax metrics` and `rffr-jax compare` for tables of scores: numbers and plots without JAX.

A table is a CSV with a header: `label` (0 real, 1 fake) and `score` (higher = more likely fake).
`id` (or `path`), `dataset`, `method`, `video`, `source` and `group` are used where they are.
"""

import pathlib
from collections.abc import Sequence

from rffr_jax.cluster.command_line import Parser
from rffr_jax.data.origins import synthetic_data_note
from rffr_jax.errors import UserError
from rffr_jax.evaluation.paired_comparison import (
    REPLICATES,
    comparison_table,
    distinct_parts,
    format_comparison,
    write_comparison,
)
from rffr_jax.evaluation.plots import plot_histograms, plot_reliability, plot_roc
from rffr_jax.evaluation.predictions import UNNAMED, concatenate
from rffr_jax.evaluation.results import results_table
from rffr_jax.evaluation.results_text import format_table
from rffr_jax.evaluation.score_files import read_scores
from rffr_jax.runs.atomic_files import write_json
from rffr_jax.runs.lock import locked_folder
from rffr_jax.runs.program import program_version

RESULTS, COMPARISON = "results.json", "comparison"


def metrics(arguments: Sequence[str]) -> int:
    """Prints every metric of some tables; writes results.json and plots with `--output`.

    Raises:
      UserError: a table that cannot be used, or an output folder that holds results.
    """
    parser = _parser("metrics", "Metrics with intervals, from tables of scores.")
    options = parser.parse_args(arguments)
    _refuse_results(options.output, RESULTS)
    parts, tables = [], {}
    for name in options.tables:
        if name in tables:
            raise UserError(f"{name} is named twice; name each table once")
        scores, tables[name] = read_scores(pathlib.Path(name), named=False)
        if scores.matched:
            raise UserError(
                f"{name} holds scores of a checkpoint for every method (checkpoint=matched); its "
                "numbers stand in its results.json"
            )
        predictions = scores.predictions
        if len(options.tables) > 1:
            predictions = predictions.rename_datasets(
                lambda dataset, name=name: name if dataset == UNNAMED else f"{name}: {dataset}"
            )
        parts.append(predictions)
    predictions = concatenate(parts)
    note = synthetic_data_note(predictions.examples)
    about = {
        **{"rule": "unknown", "checkpoint": None, "trained_methods": None},
        **{"tables": tables, "program": program_version(), "device": None},
    }
    table = results_table(predictions, about, warnings=[note] if note else [])
    print(format_table(table))
    if options.output:
        with locked_folder(options.output, "--output"):
            write_json(options.output / RESULTS, table)
            title = f"{_short_title(options.tables)}\n{note}".strip()
            plot_roc(options.output / "roc.png", predictions, title)
            plot_histograms(options.output / "histograms.png", predictions, title)
            if predictions.are_probabilities:
                plot_reliability(options.output / "reliability.png", predictions, title)
    return 0


def compare(arguments: Sequence[str]) -> int:
    """Prints the differences in AUC between tables; writes comparison.json, .md and .png.

    Raises:
      UserError: a table that cannot be used, tables of other examples, or an output folder that
        holds a comparison.
    """
    parser = _parser("compare", "Differences in AUC with intervals, from tables of scores.")
    parser.add_argument("--replicates", type=int, default=REPLICATES, help="of the bootstrap")
    options = parser.parse_args(arguments)
    _refuse_results(options.output, f"{COMPARISON}.json")
    table = comparison_table(options.tables, options.replicates)
    print(format_comparison(table))
    if options.output:
        with locked_folder(options.output, "--output"):
            write_comparison(options.output, COMPARISON, table)
    return 0


def _parser(name: str, description: str) -> Parser:
    parser = Parser(prog=f"rffr-jax {name}", description=description)
    parser.add_argument("tables", nargs="+", help="CSV files, or workdirs of evaluate")
    parser.add_argument("--output", type=pathlib.Path, help="a folder for JSON and plots")
    return parser


def _short_title(tables: Sequence[str]) -> str:
    """Names that fit above a picture: folder and file of one table, what differs of several."""
    if len(tables) == 1:
        return "/".join(pathlib.Path(tables[0]).parts[-2:])
    return ", ".join(distinct_parts(tables))


def _refuse_results(folder: pathlib.Path | None, file: str):
    if folder and (folder / file).exists():
        raise UserError(f"--output={folder} holds {file} already; name another folder")
