"""`report.html`: an experiment in one file, with its tables, charts, pictures and what made it."""

import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.errors import UserError
from rffr_jax.evaluation.plots import plot_histograms, plot_roc
from rffr_jax.evaluation.predictions import Predictions, concatenate
from rffr_jax.evaluation.results import ABOUT
from rffr_jax.examples import FAKE, Dataset
from rffr_jax.experiments.figures import (
    plot_bars,
    plot_validation_curves,
    row_labels,
    validation_curves,
)
from rffr_jax.experiments.hard_examples import faces_of, hardest_examples
from rffr_jax.experiments.html_table import claims_table, legend, results_table
from rffr_jax.experiments.run_result import RunResult, TableSpec
from rffr_jax.reports.page import escaped, page, picture, picture_file, plain_table
from rffr_jax.runs.whole_files import whole_file

ROWS_DRAWN, ERRORS_SHOWN = 8, 8
CHART_BYTES, ROW_CHART_BYTES = 500_000, 150_000  # of a chart; of one that every row has
GALLERY_BYTES = 2_000_000  # of all galleries together


def write_report(
    workdir: pathlib.Path,
    table: TableSpec,
    measured: Sequence[RunResult],
    summary: Mapping[str, Any],
    galleries: Mapping[str, pathlib.Path],
    *,
    localisation: Mapping[str, str] | None = None,
    tests: Dataset | None = None,
    names: Mapping[str, str] | None = None,
    window: int = 1,
) -> None:
    """Writes `report.html`: one file of a few megabytes that loads nothing from elsewhere.

    The same experiment gives the same file.

    Args:
      workdir: of the experiment; the `config.json` there is shown.
      table: what the experiment is about.
      measured: its runs; none for one of pictures alone. ROC curves and histograms are of the first
        run of each row, of `ROWS_DRAWN` rows at most.
      summary: the table as its JSON file holds it.
      galleries: the PNG of a gallery of residuals by its title.
      localisation: for each autoencoder whether its residuals lie where fakes were made, as text.
      tests: where the images of the hardest errors are looked up; without it they have no pictures.
      names: for a column the manipulation or data set that it shows, where that is not its label.
      window: for `figures.plot_validation_curves`.

    Raises:
      UserError: a file of a training or an evaluation is missing or cannot be read.
    """
    ours = [row for row in summary["rows"] if row["source"] == "measured"]
    rows = {(row["trained_on"], row["method"], row["rule"]): row for row in ours}
    first: dict[tuple[str, str, str], RunResult] = {}
    for one in measured:
        first.setdefault(_key(one), one)
    labels = dict(
        zip(first, row_labels([dataclasses.asdict(one) for one in first.values()]), strict=True)
    )
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        sections = []
        if summary["rows"]:
            sections.append(("Results", _results(scratch, table, summary)))
        if summary["claims"]:
            sections.append(("What the paper says of it", claims_table(summary["claims"])))
        curves = validation_curves(measured, table.columns, names)
        if curves:
            chart = plot_validation_curves(
                scratch / "curves", curves, "Validation during training", table.note, window
            )
            sections.append(("Validation curves", picture_file(chart, CHART_BYTES, CURVES_CAPTION)))
        drawn = {labels[key]: one for key, one in list(first.items())[:ROWS_DRAWN]}
        if drawn:
            sections.append(("ROC curves and scores", _charts(scratch, drawn, len(first), table)))
    if galleries:
        most = GALLERY_BYTES // len(galleries)
        shown = [picture_file(path, most, title) for title, path in galleries.items()]
        sections.append(("Residuals", f"<p>{RESIDUALS_CAPTION}</p>" + "\n".join(shown)))
    if localisation:
        texts = [f"<h3>{escaped(n)}</h3><pre>{escaped(t)}</pre>" for n, t in localisation.items()]
        sections.append(("Do the residuals lie where the fakes were made?", "\n".join(texts)))
    if first:
        best = max(first, key=lambda key: _rank(rows.get(key)))
        sections.append(("Hardest errors", _errors(first[best], labels[best], tests)))
    sections.append(("How it was made", _made(workdir, table, measured)))
    note = f'<p class="note">{escaped(table.note)}</p>' if table.note else ""
    top = f"<p>{escaped(table.name)}, data: {escaped(table.variant)}.</p>{note}"
    with whole_file(workdir / "report.html") as part:
        part.write_text(page(table.title, sections, top), encoding="utf-8")


CURVES_CAPTION = "AUC on validation data while the detectors were trained (the paper's Fig. 5)."
RESIDUALS_CAPTION = (
    "Below each original what the autoencoder makes of it, and the residual, amplified: grey is no "
    "difference. A real stands beside the fakes that were made of it."
)


def _key(one: RunResult) -> tuple[str, str, str]:
    return one.trained_on, one.method, one.rule


def _rank(row: Mapping[str, Any] | None) -> float:
    """By the mean over unseen fakes; over all where none is unseen."""
    cells = row["cells"] if row else {}
    return next((cells[k]["auc"] for k in ("mean_unseen", "mean_all") if k in cells), 0.0)


# ---- results


def _results(scratch: pathlib.Path, table: TableSpec, summary: Mapping[str, Any]) -> str:
    rows, published = summary["rows"], summary["published"]
    parts = [results_table(rows, table.columns, f"{table.name}: AUC, %"), legend(rows)]
    if any(row["source"] == "measured" for row in rows):
        caption = "Mean AUC of each row; lines: 95 % intervals, dots: single runs."
        parts.append(picture_file(plot_bars(scratch / "bars", summary), CHART_BYTES, caption))
    if published and not any(row["source"] == "published" for row in rows):
        columns = dict.fromkeys(key for row in published for key in row["cells"])
        plain = [key for key in columns if not key.startswith("mean_")]
        caption = "Printed for other data: compare orderings, not values."
        parts += ["<h3>What the paper printed</h3>", results_table(published, plain, caption)]
    return "\n".join(parts)


# ---- charts of the scores


def _charts(
    scratch: pathlib.Path, drawn: Mapping[str, RunResult], rows: int, table: TableSpec
) -> str:
    said = "Of the first run of each row"
    said += f", of the first {len(drawn)} of {rows} rows." if rows > len(drawn) else "."
    parts = [f"<p>{said}</p>"]
    drawings: tuple[tuple[str, Callable[..., None]], ...] = (
        ("ROC curves", plot_roc),
        ("scores of reals and fakes", plot_histograms),
    )
    for label, one in drawn.items():
        predictions = all_scores(one)
        title = f"{label}, seed {one.seed}\n{table.note}".strip()
        parts.append(f'<h3>{escaped(label)}</h3><div class="charts">')
        for name, draw in drawings:
            draw(scratch / "chart.png", predictions, title)
            parts.append(picture_file(scratch / "chart.png", ROW_CHART_BYTES, f"{label}: {name}"))
        parts.append("</div>")
    return "\n".join(parts)


def all_scores(one: RunResult) -> Predictions:
    """All scores that a detector's AUCs are of.

    Where a column or a manipulation was tested with weights of its own, so that images were scored
    several times, its name stands in place of the data set's.
    """
    columns: dict[pathlib.Path, list[str]] = {}
    for column, folder in one.evaluations.items():
        columns.setdefault(folder, []).append(column)
    parts = []
    for folder, of_folder in columns.items():
        matched = _about(folder)["checkpoint"] == "matched"
        files = sorted(folder.glob("predictions-*.csv")) if matched else []
        for file in files or [folder / "predictions.csv"]:
            part = Predictions.read_csv(file)
            fakes = dict.fromkeys(e.method for e in part.examples if e.label == FAKE)
            parts.append((f"weights for {', '.join(fakes if files else of_folder)}", part))
    scored = [(e.dataset, e.id) for _, part in parts for e in part.examples]
    if len(set(scored)) == len(scored):
        return concatenate([part for _, part in parts])
    return concatenate([_renamed(part, name) for name, part in parts])


def _renamed(part: Predictions, name: str) -> Predictions:
    examples = [dataclasses.replace(e, dataset=name) for e in part.examples]
    return Predictions(examples, part.scores)


# ---- hardest errors


def _errors(one: RunResult, label: str, dataset: Dataset | None) -> str:
    scored = {}
    for folder in dict.fromkeys(one.evaluations.values()):
        part = Predictions.read_csv(folder / "predictions.csv")
        for example, score in zip(part.examples, part.scores.tolist(), strict=True):
            scored.setdefault((example.dataset, example.id), (example, score))
    examples, scores = zip(*scored.values(), strict=True)
    predictions = Predictions(examples, np.array(scores, np.float64))
    reals, fakes = hardest_examples(predictions, ERRORS_SHOWN)
    said = f"Of {label}, seed {one.seed}: the row with the highest mean, its first run."
    parts = [f"<p>{escaped(said)}</p>"]
    headings = (
        ("Reals with the highest scores", reals),
        ("Fakes with the lowest scores", fakes),
    )
    for heading, chosen in headings:
        parts.append(f'<h3>{heading}</h3><div class="faces">')
        shown = [examples[i] for i in chosen]
        for i, face in zip(chosen, faces_of(dataset, shown), strict=True):
            example = examples[i]
            caption = f"{scores[i]:.4f}, {example.method}, {example.dataset}: {example.id}"
            if face is None:
                parts.append(f"<p>{escaped(caption)} (no picture)</p>")
            else:
                parts.append(picture(face, caption))
        parts.append("</div>")
    return "\n".join(parts)


# ---- how it was made


def _made(workdir: pathlib.Path, table: TableSpec, measured: Sequence[RunResult]) -> str:
    parts = [f"<h3>Command</h3><pre>{escaped(table.command)}</pre>"]
    abouts = [_about(folder) for folder in _folders(measured)]
    warnings = dict.fromkeys(warning for about in abouts for warning in about["warnings"])
    if warnings:
        listed = "".join(f"<li>{escaped(warning)}</li>" for warning in warnings)
        parts.append(f"<h3>Warnings of the evaluations</h3><ul>{listed}</ul>")
    runs = [
        (
            *(one.trained_on, one.method, one.rule, one.seed),
            "" if one.mae_seed is None else one.mae_seed,
            f"{one.seconds:.0f}",
            one.training,
        )
        for one in measured
    ]
    header = ("trained on", "method", "weights", "seed", "MAE seed", "training, s", "workdir")
    parts += ["<h3>Runs</h3>", plain_table(header, runs)]
    used: dict[str, dict[str, None]] = {}
    for about in abouts:
        for name, version in about["versions"].items():
            used.setdefault(name, {})[version] = None
    versions = [(name, ", ".join(found)) for name, found in used.items()]
    parts += ["<h3>Versions</h3>", plain_table(("package", "version"), versions)]
    config = workdir / "config.json"
    if config.exists():
        text = config.read_text(encoding="utf-8")
        parts.append(f"<h3>Configuration</h3><pre>{escaped(text)}</pre>")
    return "\n".join(parts)


def _folders(measured: Sequence[RunResult]) -> list[pathlib.Path]:
    return list(dict.fromkeys(folder for one in measured for folder in one.evaluations.values()))


def _about(folder: pathlib.Path) -> dict[str, Any]:
    file = folder / "results.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))[ABOUT]
    except (OSError, ValueError, KeyError):
        raise UserError(f"{file} is not the table of an evaluation; evaluate again") from None
