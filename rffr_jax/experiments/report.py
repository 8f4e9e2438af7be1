"""`report.html`: an experiment in one file, with its tables, charts, pictures and what made it."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.errors import BadImageError, UserError
from rffr_jax.evaluation.plots import plot_histograms, plot_roc, plot_training_curves
from rffr_jax.evaluation.predictions import Predictions, concatenate
from rffr_jax.evaluation.results import ABOUT
from rffr_jax.examples import FAKE, REAL, Dataset, Example
from rffr_jax.experiments.figures import (
    plot_bars,
    plot_validation_curves,
    row_labels,
    validation_curves,
)
from rffr_jax.experiments.printed_table import printed_tables
from rffr_jax.experiments.run_result import RunResult, TableSpec
from rffr_jax.images.image_formats import encode_crop
from rffr_jax.reports.pictures import Picture, picture_from_bytes, picture_from_file
from rffr_jax.reports.templates import render
from rffr_jax.runs.atomic_files import read_json_object, write_text

ROWS_DRAWN, ERRORS_SHOWN = 8, 8
FACE_SIZE = 160
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
      measured: its runs; none for one with only pictures. ROC curves and histograms are of the
        first run of each row, of `ROWS_DRAWN` rows at most.
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
        first.setdefault((one.trained_on, one.method, one.rule), one)
    labels = dict(
        zip(first, row_labels([dataclasses.asdict(one) for one in first.values()]), strict=True)
    )
    values: dict[str, Any] = {"tables": printed_tables(summary), "bars": None, "errors": None}
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        if ours:
            caption = "Mean AUC of each row; lines: 95 % intervals, dots: single runs."
            chart = plot_bars(scratch / "bars", summary)
            values["bars"] = picture_from_file(chart, CHART_BYTES, caption)
        values["curves"] = _draw_curves(scratch, measured, table, names, window)
        drawn = {labels[key]: one for key, one in list(first.items())[:ROWS_DRAWN]}
        values["charts"] = {
            label: _draw_charts(scratch, label, one, table.note) for label, one in drawn.items()
        }
    most = GALLERY_BYTES // max(1, len(galleries))
    values["galleries"] = [
        picture_from_file(path, most, title) for title, path in galleries.items()
    ]
    values["localisation"] = localisation or {}
    if first:
        best = max(first, key=lambda key: _row_auc(rows.get(key)))
        values["errors"] = _hardest_errors(first[best], labels[best], tests)
    sections = {
        "Results": values["tables"],
        "Validation curves": values["curves"],
        "ROC curves and scores": values["charts"],
        "Residuals": values["galleries"],
        "Do the residuals lie where the fakes were made?": values["localisation"],
        "Hardest errors": values["errors"],
        "How it was made": True,
    }
    text = render(
        "experiment.html",
        headings=[heading for heading, content in sections.items() if content],
        row_count=len(first),
        **{name: getattr(table, name) for name in ("title", "name", "variant", "note", "command")},
        **values,
        **_provenance(workdir, measured),
    )
    write_text(workdir / "report.html", text)


def _row_auc(row: Mapping[str, Any] | None) -> float:
    """By the mean over unseen fakes; over all where none is unseen."""
    cells = row["cells"] if row else {}
    return next((cells[k]["auc"] for k in ("mean_unseen", "mean_all") if k in cells), 0.0)


# ---- charts


def _draw_curves(
    scratch: pathlib.Path,
    measured: Sequence[RunResult],
    table: TableSpec,
    names: Mapping[str, str] | None,
    window: int,
) -> Picture | None:
    """Of the validations of several steps; None where there are none."""
    curves = validation_curves(measured, table.columns, names)
    if not any(len(run) > 1 for rows in curves.values() for runs in rows.values() for run in runs):
        return None
    title = "Validation during training"
    chart = plot_validation_curves(scratch / "curves", curves, title, table.note, window)
    caption = "AUC on validation data while the detectors were trained (the paper's Fig. 5)."
    return picture_from_file(chart, CHART_BYTES, caption)


def _draw_charts(scratch: pathlib.Path, label: str, one: RunResult, note: str) -> list[Picture]:
    predictions, title = read_all_scores(one), f"{label}, seed {one.seed}\n{note}".strip()
    pictures, file = [], scratch / "chart.png"
    plot_roc(file, predictions, title)
    pictures.append(picture_from_file(file, ROW_CHART_BYTES, f"{label}: ROC curves"))
    plot_histograms(file, predictions, title)
    pictures.append(picture_from_file(file, ROW_CHART_BYTES, f"{label}: scores of reals and fakes"))
    plot_training_curves(file, one.training / "metrics.jsonl", note=title)
    pictures.append(picture_from_file(file, ROW_CHART_BYTES, f"{label}: training"))
    return pictures


def read_all_scores(one: RunResult) -> Predictions:
    """All scores that a detector's AUCs are of.

    Where a column or a manipulation was tested with weights of its own, so that images were scored
    several times, its name stands in place of the data set's.
    """
    columns: dict[pathlib.Path, list[str]] = {}
    for column, folder in one.evaluations.items():
        columns.setdefault(folder, []).append(column)
    parts = []
    for folder, of_folder in columns.items():
        matched = _read_about(folder)["checkpoint"] == "matched"
        files = sorted(folder.glob("predictions-*.csv")) if matched else []
        for file in files or [folder / "predictions.csv"]:
            part = Predictions.read_csv(file)
            fakes = dict.fromkeys(e.method for e in part.examples if e.label == FAKE)
            parts.append((f"weights for {', '.join(fakes if files else of_folder)}", part))
    scored = [(e.dataset, e.id) for _, part in parts for e in part.examples]
    if len(set(scored)) == len(scored):
        return concatenate([part for _, part in parts])
    return concatenate([part.rename_datasets(lambda _, to=name: to) for name, part in parts])


# ---- hardest errors


def _hardest_errors(one: RunResult, label: str, dataset: Dataset | None) -> dict[str, Any]:
    scored = {}
    for folder in dict.fromkeys(one.evaluations.values()):
        part = Predictions.read_csv(folder / "predictions.csv")
        for example, score in zip(part.examples, part.scores.tolist(), strict=True):
            scored.setdefault((example.dataset, example.id), (example, score))
    examples, scores = zip(*scored.values(), strict=True)
    reals, fakes = hardest_examples(Predictions(examples, np.array(scores)), ERRORS_SHOWN)
    headings = {"Reals with the highest scores": reals, "Fakes with the lowest scores": fakes}
    faces: dict[str, list[tuple[str, Picture | None]]] = {}
    for heading, chosen in headings.items():
        images = load_faces_as_png(dataset, [examples[i] for i in chosen])
        faces[heading] = []
        for i, face in zip(chosen, images, strict=True):
            example = examples[i]
            caption = f"{scores[i]:.4f}, {example.method}, {example.dataset}: {example.id}"
            faces[heading].append((caption, picture_from_bytes(face, caption) if face else None))
    return {"label": label, "seed": one.seed, "faces": faces}


def hardest_examples(predictions: Predictions, count: int) -> tuple[list[int], list[int]]:
    """The reals with the highest scores and the fakes with the lowest, the hardest first.

    Equal scores come in the order of data set and id.

    Args:
      count: of each at most.

    Returns:
      Indices of the reals, indices of the fakes.
    """
    examples, scores = predictions.examples, predictions.scores

    def sort_examples(label: int, sign: int) -> list[int]:
        own = [i for i, example in enumerate(examples) if example.label == label]
        return sorted(own, key=lambda i: (sign * scores[i], examples[i].dataset, examples[i].id))

    return sort_examples(REAL, -1)[:count], sort_examples(FAKE, 1)[:count]


def load_faces_as_png(
    dataset: Dataset | None, examples: Sequence[Example], size: int = FACE_SIZE
) -> list[bytes | None]:
    """The images of some examples as PNG files of `size` x `size` pixels.

    Args:
      dataset: where they are looked up by data set and id.

    Returns:
      The bytes of a file for each; None where the dataset has no such example or cannot read it.
    """
    rows = {(e.dataset, e.id): i for i, e in enumerate(dataset.examples)} if dataset else {}
    faces: list[bytes | None] = []
    for example in examples:
        face = None
        index = rows.get((example.dataset, example.id))
        if dataset is not None and index is not None:
            with contextlib.suppress(BadImageError):
                face = encode_crop(dataset.load(index, size), "png")
        faces.append(face)
    return faces


# ---- how it was made


def _provenance(workdir: pathlib.Path, measured: Sequence[RunResult]) -> dict[str, Any]:
    folders = dict.fromkeys(folder for one in measured for folder in one.evaluations.values())
    abouts = [_read_about(folder) for folder in folders]
    versions: dict[str, dict[str, None]] = {}
    for about in abouts:
        for name, version in about["versions"].items():
            versions.setdefault(name, {})[version] = None
    config = workdir / "config.json"
    return {
        "warnings": list(dict.fromkeys(w for about in abouts for w in about["warnings"])),
        "runs": [
            (
                *(one.trained_on, one.method, one.rule, one.seed),
                "" if one.mae_seed is None else one.mae_seed,
                f"{one.seconds:.0f}",
                one.training,
            )
            for one in measured
        ],
        "versions": [(name, ", ".join(found)) for name, found in versions.items()],
        "config": config.read_text(encoding="utf-8") if config.exists() else "",
    }


def _read_about(folder: pathlib.Path) -> dict[str, Any]:
    file = folder / "results.json"
    try:
        return read_json_object(file)[ABOUT]
    except (OSError, KeyError):
        raise UserError(f"{file} is not the table of an evaluation; evaluate again") from None
