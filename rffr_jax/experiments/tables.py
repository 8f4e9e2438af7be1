"""A table of the paper from what was measured: as JSON, CSV, Markdown and LaTeX."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.experiments.auc_replicates import AucReplicates
from rffr_jax.experiments.claims import check_claims
from rffr_jax.experiments.external import external_row
from rffr_jax.experiments.published import PUBLISHED
from rffr_jax.experiments.run_result import RunResult, TableSpec
from rffr_jax.experiments.summary import measured_rows, unique
from rffr_jax.experiments.table_formats import format_csv, format_latex, format_markdown
from rffr_jax.runs.atomic_files import write_json, write_text

PAPER_VARIANT = "faceforensics"
"""The variant whose data are the paper's: only its numbers can be held against the published."""


def write_tables(workdir: pathlib.Path, table: Mapping[str, Any]) -> None:
    """Writes NAME.json, .csv, .md and .tex into `workdir`, of a table that `build_table` made."""
    write_json(workdir / f"{table['name']}.json", table)
    formats = {"csv": format_csv, "md": format_markdown, "tex": format_latex}
    for ending, formatted in formats.items():
        write_text(workdir / f"{table['name']}.{ending}", formatted(table) + "\n")


def build_table(
    table: TableSpec,
    measured: Sequence[RunResult],
    columns: Mapping[str, Predictions],
    replicates: AucReplicates,
) -> dict[str, Any]:
    """The numbers of a table; AUCs in [0, 1].

    Args:
      table: what it is about.
      measured: its runs; of each row every detector seed with every MAE seed.
      columns: our predictions of each column (reals and the column's fakes), of any one run: what
        rows of other toolkits are matched with. May be empty where `table.external` is.
      replicates: of `measured`.

    Returns:
      `name, variant, title, note, command, columns, controls, seeds, mae_seeds`; `rows`, of which
      the measured ones stand behind the published ones that they are to reach where the data are
      the paper's; `claims` (see `claims.check_claims`); `published`: all rows that the paper
      printed. A row is `trained_on, method, rule, source` ("measured", "published" or "external"),
      `cells`, `seconds`, `inference_seconds`, `mae_error_ratio`, `mae_doubts`, `own_auc`,
      `reference_auc` and `detector_doubts`. A cell, of a column, "mean_all" or "mean_unseen", holds
      what `summary.row_cells` says, `published` and `difference` (measured - published), which are
      None on other data.
    """
    published = PUBLISHED.get(table.name, [])
    beside = published if table.variant == PAPER_VARIANT else []
    rows = [_with_published(row, beside) for row in measured_rows(table, measured, replicates)]
    others = [
        _with_published(external_row(table, label, spec, columns), [])
        for label, spec in table.external.items()
    ]
    maes = {run.mae_seed for run in measured if run.mae_seed is not None}
    return {
        "name": table.name,
        "variant": table.variant,
        "title": table.title,
        "note": table.note,
        "remarks": list(table.remarks),
        "command": table.command,
        "columns": list(table.columns),
        "controls": list(table.controls),
        "seeds": sorted({run.seed for run in measured}),
        "mae_seeds": sorted(maes),
        "rows": [*_order_beside_published(rows, beside), *others],
        "claims": check_claims(table, measured, replicates),
        "published": published,
    }


def _with_published(row: dict[str, Any], published: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row with what the paper printed for the same fakes, method and rule in each cell."""
    printed = next((other["cells"] for other in published if _key(other) == _key(row)), {})
    cells = {}
    for name, cell in row["cells"].items():
        value = printed[name]["auc"] if name in printed else None
        difference = None if value is None else cell["auc"] - value
        cells[name] = {**cell, "published": value, "difference": difference}
    return {**row, "cells": cells}


def _order_beside_published(
    rows: Sequence[dict[str, Any]], published: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Rows with the same training fakes together; each published row before ours of that name."""
    ordered = []
    for trained_on in unique(row["trained_on"] for row in (*rows, *published)):
        ours = [row for row in rows if row["trained_on"] == trained_on]
        theirs = [row for row in published if row["trained_on"] == trained_on]
        for row in theirs:
            ordered += [row, *(own for own in ours if _key(own) == _key(row))]
        known = {_key(row) for row in theirs}
        ordered += [own for own in ours if _key(own) not in known]
    return ordered


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["trained_on"], row["method"], row["rule"]
