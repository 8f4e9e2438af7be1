"""The charts of an experiment: mean AUC in bars (Fig. 1), validation curves (Fig. 5)."""

import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rffr_jax.errors import UserError
from rffr_jax.evaluation.plots import add_legend, new_figure, read_logged_numbers
from rffr_jax.experiments.run_result import RunResult
from rffr_jax.experiments.summary import MEANS
from rffr_jax.runs.atomic_files import atomic_write

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#555555", "#F0E442")
"""Of Okabe and Ito: told apart by the colour-blind, too."""
HATCHES, LINES = ("", "//", "..", "xx"), ("-", "--", "-.", ":")
CHANCE, LETTERS_AN_INCH = 50.0, 11
LABELS = ("trained_on", "method", "rule")


def row_labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for every row of a table: its method, and whatever else tells it from others."""
    varied = [key for key in LABELS if len({row[key] for row in rows}) > 1 or key == "method"]
    return [", ".join(str(row[key]) for key in varied) for row in rows]


# ---- Fig. 1


def plot_bars(stem: pathlib.Path, table: Mapping[str, Any]) -> pathlib.Path:
    """Writes STEM.png and STEM.pdf: a group of bars a column and for the means, a bar a row.

    There is a panel for each kind of fakes that was trained on. Bars stand on the AUC of chance,
    50 %; lines are the 95 % intervals, dots single runs.

    Args:
      stem: where to, without a suffix.
      table: a table as its JSON file holds it; only its measured rows are drawn.

    Returns:
      The path of the PNG.

    Raises:
      UserError: no row was measured.
    """
    rows = [row for row in table["rows"] if row["source"] == "measured"]
    if not rows:
        raise UserError(f"{table['name']} has no measured row; leave bars out of figures")
    labels = row_labels([{**row, "trained_on": ""} for row in rows])
    named = list(dict.fromkeys(labels))
    trainings = list(dict.fromkeys(row["trained_on"] for row in rows))
    shown = [(name, name) for name in table["columns"]]
    shown += [(key, name) for key, name in MEANS.items() if any(key in r["cells"] for r in rows)]
    width = max(6.0, 1.5 + 0.28 * len(shown) * (len(named) + 1))
    letters = max(1, int(LETTERS_AN_INCH * (width - 1.5) / len(shown)))
    ticks = [_in_lines(name, letters) for _, name in shown]
    figure, panels, key = _panels(len(trainings), 1, width, named)
    lowest = CHANCE
    for axes, trained_on in zip(panels, trainings, strict=True):
        for row, label in zip(rows, labels, strict=True):
            if row["trained_on"] != trained_on:
                continue
            for group, (name, _) in enumerate(shown):
                if name in row["cells"]:
                    place = named.index(label), len(named)
                    lowest = min(lowest, _draw_bar(axes, row["cells"][name], group, *place))
        axes.axhline(CHANCE, color="0.3", linewidth=0.8)
        axes.set_xticks(range(len(shown)), ticks, parse_math=False)
        axes.set_ylabel("AUC, %")
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
        axes.set_title(f"trained on {trained_on}", fontsize=10, parse_math=False)
    panels[0].set_ylim(lowest - (lowest < CHANCE), 100.5)
    handles = [Patch(label=f" {label}", **_bar_style(number)) for number, label in enumerate(named)]
    legend = add_legend(key, handles=handles, loc="center", ncols=_legend_columns(named, width))
    legend.set_in_layout(False)
    return _save(figure, stem, table["title"], table["note"])


def _in_lines(name: str, letters: int) -> str:
    """A name in lines of so many letters, cut at spaces and after underscores and hyphens."""
    parts = textwrap.wrap(name.replace("_", "_ "), letters, break_long_words=False)
    return "\n".join(part.replace("_ ", "_") for part in parts)


def _draw_bar(axes: Axes, cell: Mapping[str, Any], group: int, number: int, count: int) -> float:
    """Draws one bar with its interval and dots; returns the lowest value that is to be seen."""
    width = 0.84 / count
    place = group + (number - (count - 1) / 2) * width
    mean, runs = 100 * cell["auc"], [100 * run["auc"] for run in cell["runs"]]
    axes.bar(place, mean - CHANCE, 0.92 * width, bottom=CHANCE, **_bar_style(number))
    interval = [100 * bound for bound in cell["ci95"] or ()]
    if interval:
        axes.vlines(place, *interval, color="black", linewidth=1.3, zorder=3)
    spread = np.linspace(-0.25, 0.25, len(runs)) * width if len(runs) > 1 else np.zeros(len(runs))
    axes.scatter(
        place + spread, runs, s=9, color="white", edgecolors="black", linewidths=0.6, zorder=4
    )
    return min([mean, *interval, *runs])


def _bar_style(number: int) -> dict[str, Any]:
    colour = COLOURS[number % len(COLOURS)]
    hatch = HATCHES[number // len(COLOURS) % len(HATCHES)]
    return {"facecolor": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.0}


# ---- Fig. 5

Curve = dict[int, float]  # AUC in [0, 1] by step


def validation_curves(
    measured: Sequence[RunResult], columns: Sequence[str], names: Mapping[str, str] | None = None
) -> dict[str, dict[str, list[Curve]]]:
    """The AUC on validation data over the steps of training, of every run.

    Args:
      measured: detectors; a training that a method has several times counts once. Rows that do
        not test their training are left out.
      columns: of the table.
      names: for a column the manipulation or data set that `metrics.jsonl` has it under, where
        that is not the column's own label. If several data sets hold a manipulation, the first
        one counts.

    Returns:
      For each column that was validated, by the row's method, a curve a run. Methods whose runs
      are the same trainings share an entry, "METHOD and METHOD". Where there are several kinds of
      fakes that were trained on, each has its own "COLUMN, trained on FAKES".

    Raises:
      UserError: a training has no readable `metrics.jsonl`.
    """
    runs: dict[str, dict[str, list[pathlib.Path]]] = {}  # by the fakes, then by the method
    measured = [one for one in measured if one.tests_training]
    for one in measured:
        of_method = runs.setdefault(one.trained_on, {}).setdefault(one.method, [])
        if one.training not in of_method:
            of_method.append(one.training)
    logged = {one.training: _read_curves(one.training) for one in measured}
    found: dict[str, dict[str, list[Curve]]] = {}
    for trained_on, of_methods in runs.items():
        sharing: dict[tuple[pathlib.Path, ...], list[str]] = {}
        for method, trainings in of_methods.items():
            sharing.setdefault(tuple(trainings), []).append(method)
        for column in columns:
            panel = column if len(runs) == 1 else f"{column}, trained on {trained_on}"
            name = (names or {}).get(column, column)
            for trainings, methods in sharing.items():
                validated = [_curve_of(logged[training], name) for training in trainings]
                curves = [curve for curve in validated if curve]
                if curves:
                    found.setdefault(panel, {})[" and ".join(methods)] = curves
    return found


def _read_curves(training: pathlib.Path) -> dict[tuple[str, str], Curve]:
    """All that was measured in a training, by split and metric."""
    logged: dict[tuple[str, str], Curve] = {}
    for step, split, metric, value in read_logged_numbers(training / "metrics.jsonl"):
        logged.setdefault((split, metric), {})[step] = value
    return logged


def _curve_of(logged: Mapping[tuple[str, str], Curve], name: str) -> Curve:
    """The AUC of a manipulation or a data set; {} where it was not validated."""
    keys = [key for key in logged if key[1] == f"auc_{name}"] + [(name, "auc")]
    return logged.get(keys[0], {})


def plot_validation_curves(
    stem: pathlib.Path,
    curves: Mapping[str, Mapping[str, Sequence[Curve]]],
    title: str,
    note: str = "",
    window: int = 1,
) -> pathlib.Path:
    """Writes STEM.png and STEM.pdf: a panel a curve's name, for every method the mean of its runs.

    Thin, faint lines are single runs, as they were measured.

    Args:
      stem: where to, without a suffix.
      curves: of `validation_curves`; runs of a method are averaged at the steps that all have.
      title: above all panels.
      note: under them; the place for what the data are.
      window: evaluations that the means are averaged over, an odd number; 1 leaves them as they
        are.

    Returns:
      The path of the PNG.

    Raises:
      UserError: there is no curve, or `window` is even or below 1.
    """
    if not curves:
        raise UserError(
            "no training was validated on a column of the table: name data.validation, and set "
            "evaluate_every"
        )
    if window < 1 or window % 2 == 0:
        raise UserError(f"a moving average over {window} evaluations; give an odd number")
    methods = list(dict.fromkeys(label for column in curves.values() for label in column))
    across = min(len(curves), 2 if len(curves) <= 8 else 4)
    width = 4.6 * across
    figure, panels, key = _panels(len(curves), across, width, methods)
    for axes, (column, of_method) in zip(panels, curves.items(), strict=True):
        for label, runs in of_method.items():
            number = methods.index(label)
            colour = COLOURS[number % len(COLOURS)]
            for run in runs:
                steps = sorted(run)
                values = [100 * run[step] for step in steps]
                axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.4)
            steps = sorted(set.intersection(*(set(run) for run in runs)))
            mean = np.array([100 * np.mean([run[step] for run in runs]) for step in steps])
            line = LINES[number // len(COLOURS) % len(LINES)]
            marker = "." if len(steps) <= 20 else ""
            axes.plot(
                steps,
                moving_average(mean, window),
                color=colour,
                linestyle=line,
                marker=marker,
                linewidth=1.8,
                label=f" {label}",
            )
        axes.axhline(CHANCE, color="0.5", linewidth=0.8, linestyle=":")
        axes.set_title(column, fontsize=10, parse_math=False)
        axes.grid(color="0.9")
    named = {line.get_label(): line for axes in panels for line in axes.lines}
    handles = [named[f" {label}"] for label in methods]
    legend = add_legend(key, handles=handles, loc="center", ncols=_legend_columns(methods, width))
    legend.set_in_layout(False)
    figure.supxlabel("step", fontsize=10)
    figure.supylabel("validation AUC, %", fontsize=10)
    return _save(figure, stem, f"{title}\n{_curves_caption(curves, window)}", note)


def _curves_caption(curves: Mapping[str, Mapping[str, Sequence[Curve]]], window: int) -> str:
    runs = {len(one) for of_method in curves.values() for one in of_method.values()}
    parts = []
    if max(runs) > 1:
        parts.append(f"mean over {' or '.join(map(str, sorted(runs)))} runs")
    if window > 1:
        parts.append(f"moving average over {window} evaluations")
    return f"{' and '.join(parts)}; faint: single runs as measured" if parts else "as measured"


def moving_average(values: Float64[np.ndarray, " n"], window: int) -> Float64[np.ndarray, " n"]:
    """The mean of `window` neighbours about each value; of those that are there, at the ends."""
    padded = np.pad(values, window // 2, constant_values=np.nan)
    return np.nanmean(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)


# ---- sheets


def _panels(
    count: int, across: int, width: float, labels: Sequence[str]
) -> tuple[Figure, list[Axes], Axes]:
    """A figure with panels of the same axes, and a place above them for a legend of `labels`."""
    down = -(-count // across)
    top = 0.25 * -(-len(labels) // _legend_columns(labels, width))
    figure = new_figure(width=width, height=3.0 * down + top + 0.9)
    grid = figure.add_gridspec(down + 1, across, height_ratios=[top, *[3.0] * down])
    places = [grid[1 + i // across, i % across] for i in range(count)]
    first = figure.add_subplot(places[0])
    panels = [first, *(figure.add_subplot(p, sharex=first, sharey=first) for p in places[1:])]
    key = figure.add_subplot(grid[0, :])
    key.axis("off")
    return figure, panels, key


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """How many columns of labels fit into so many inches."""
    widest = 0.7 + 0.085 * max(len(label) for label in labels)
    return max(1, min(len(labels), int(width / widest)))


def _save(figure: Figure, stem: pathlib.Path, title: str, note: str) -> pathlib.Path:
    figure.suptitle(title, fontsize=10, parse_math=False, wrap=True)
    if note:
        bottom = figure.get_supxlabel()
        text = f"{bottom}\n{note}" if bottom else note
        figure.supxlabel(text, fontsize=8, parse_math=False, wrap=True)
    for suffix, metadata in ((".png", {}), (".pdf", {"CreationDate": None})):
        with atomic_write(stem.with_suffix(suffix)) as part:
            figure.savefig(part, format=suffix[1:], metadata=metadata)
    return stem.with_suffix(".png")
