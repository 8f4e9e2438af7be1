"""Charts of an evaluation and of a training run.

They use matplotlib's object interface with its Agg canvas: no display, no global state.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from rffr_jax.errors import UserError
from rffr_jax.evaluation import metrics
from rffr_jax.evaluation.calibration import Calibration, reliability
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.results import select_method_and_reals
from rffr_jax.examples import FAKE, REAL
from rffr_jax.runs.atomic_files import atomic_write
from rffr_jax.runs.text_files import read_lines

HISTOGRAM_BINS = 25
UNRESOLVED = "unresolved"
COMPARISONS_SHOWN = 100
BLUE, RED = "#0072B2", "#D55E00"  # of Okabe and Ito: told apart by the colour-blind, too


def plot_roc(path: str | Path, predictions: Predictions, title: str) -> None:
    """Writes a PNG with a panel a dataset and a ROC curve a method, each against all reals.

    Args:
      path: of the PNG.
      predictions: of one or several datasets.
      title: above all panels; the place for the checkpoint's rule and for what the data are.

    Raises:
      UserError: a dataset lacks reals or fakes.
    """
    datasets = predictions.ordered().by_dataset()
    figure, panels = _square_panels(list(datasets), title)
    for axes, (name, part) in zip(panels, datasets.items(), strict=True):
        metrics.require_both_classes(part.labels, name)
        _draw_roc(axes, part)
    _save_png(figure, path)


def _square_panels(names: Sequence[str], title: str) -> tuple[Figure, list[Axes]]:
    """A figure with a titled panel for each name, three in a row."""
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = new_figure(width=5.0 * columns, height=5.0 * rows + 0.4)
    figure.suptitle(title, fontsize=11, parse_math=False, wrap=True)
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(len(names))]
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name, fontsize=11, parse_math=False)
    return figure, panels


def _draw_roc(axes: Axes, part: Predictions) -> None:
    methods = part.fake_methods
    axes.set_prop_cycle(color=_colours(len(methods)))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
    for method in methods:
        pairs = select_method_and_reals(part, method)
        fpr, tpr = metrics.roc_points(pairs.labels, pairs.scores)
        area = metrics.auc(pairs.labels, pairs.scores)
        axes.plot(fpr, tpr, linewidth=1.6, label=f"{100 * area:.1f}  {method}")
    axes.set(xlabel="reals called fake", ylabel="fakes found", aspect="equal")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    if len(methods) <= 8:
        add_legend(axes, title="AUC, %", loc="lower right")
    else:
        add_legend(axes, title="AUC, %", loc="center left", bbox_to_anchor=(1.0, 0.5))


def plot_histograms(path: str | Path, predictions: Predictions, title: str) -> None:
    """Writes a PNG with a panel a manipulation: how reals and its fakes spread over the scores.

    Bars of reals, and those of fakes, add up to 100 %; all panels share bins and axes.

    Args:
      path: of the PNG.
      predictions: of one or several datasets.
      title: as for `plot_roc`.

    Raises:
      UserError: a dataset lacks reals or fakes.
    """
    pairs = {}
    for name, part in predictions.ordered().by_dataset().items():
        metrics.require_both_classes(part.labels, name)
        for method in part.fake_methods:
            pairs[f"{name}: {method}"] = select_method_and_reals(part, method)
    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // columns)
    figure = new_figure(width=3.4 * columns, height=2.6 * rows + 0.6)
    figure.suptitle(title, fontsize=11, parse_math=False, wrap=True)
    low, high = min(0.0, predictions.scores.min()), max(1.0, predictions.scores.max())
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    panels = np.ravel(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False))
    for axes, (name, part) in zip(panels, pairs.items(), strict=False):
        for label, kind, colour, hatch in ((REAL, "reals", BLUE, ""), (FAKE, "fakes", RED, "///")):
            scores = part.scores[part.labels == label]
            shares = 100 * np.histogram(scores, edges)[0] / len(scores)
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.3)
            axes.stairs(shares, edges, color=colour, hatch=hatch, label=f" {kind}, {len(scores)}")
        axes.set_title(name, fontsize=9, parse_math=False)
        axes.tick_params(labelbottom=True)
        add_legend(axes)
    for axes in panels[len(pairs) :]:
        axes.remove()
    figure.supxlabel("score", fontsize=10)
    figure.supylabel("images, %", fontsize=10)
    _save_png(figure, path)


def plot_reliability(
    path: str | Path, predictions: Predictions, title: str, calibration: Calibration | None = None
) -> None:
    """Writes a PNG with a panel a dataset: the share of fakes over the score (reliability diagram).

    The area of a mark is the share of images in its bin. The dotted line is a score that is the
    probability of `fake`.

    Args:
      path: of the PNG.
      predictions: of one or several datasets, scores in [0, 1].
      title: as for `plot_roc`.
      calibration: drawn as a second curve.
    """
    datasets = predictions.ordered().by_dataset()
    figure, panels = _square_panels(list(datasets), title)
    for axes, part in zip(panels, datasets.values(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
        curves = {"score": part.scores}
        if calibration is not None:
            curves["calibrated"] = calibration.probabilities(part.scores)
        for label, probabilities in curves.items():
            found = reliability(part.labels, probabilities)
            shown = f"{100 * found.ece:.1f}  {label}"
            (line,) = axes.plot(
                found.mean_probability, found.fake_share, linewidth=1.2, label=shown
            )
            area = 300 * found.count / found.count.sum()
            axes.scatter(
                found.mean_probability, found.fake_share, s=area, color=line.get_color(), alpha=0.6
            )
        axes.set(xlabel="probability of fake", ylabel="share of fakes", aspect="equal")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        add_legend(axes, title="ECE, %", loc="upper left")
    _save_png(figure, path)


def plot_robustness(path: str | Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Writes a PNG with a panel a corruption: AUC over its levels, a curve a dataset and method.

    The dotted line of a curve's colour is its AUC on clean images; a dashed curve is of whole
    pictures that were corrupted.

    Args:
      path: of the PNG.
      rows: of `robustness.robustness`.
      title: as for `plot_roc`.
    """
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure = new_figure(width=3.6 * len(kinds) + 2.0, height=4.0)
    figure.suptitle(title, fontsize=11, parse_math=False, wrap=True)
    panels = np.ravel(figure.subplots(1, len(kinds), sharey=True, squeeze=False))
    names = list(dict.fromkeys((row["dataset"], row["fakes"]) for row in rows))
    colours = _colours(len(names))[: len(names)]
    for axes, kind in zip(panels, kinds, strict=True):
        for (dataset, fakes), colour in zip(names, colours, strict=True):
            own = [
                r for r in rows if (r["kind"], r["dataset"], r["fakes"]) == (kind, dataset, fakes)
            ]
            for on, line in (("crops", "-"), ("frames", "--")):
                points = [(row["level"], 100 * row["auc"]) for row in own if row["on"] == on]
                label = f" {dataset}: {fakes}" + (", whole" if on == "frames" else "")
                if points:
                    axes.plot(
                        *zip(*points, strict=True), line, color=colour, marker=".", label=label
                    )
            axes.axhline(100 * own[0]["clean_auc"], color=colour, linewidth=0.8, linestyle=":")
        axes.set_xlabel(kind)
        axes.grid(color="0.9")
    panels[0].set_ylabel("AUC, %")
    add_legend(panels[-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save_png(figure, path)


def plot_comparison(path: str | Path, entries: Sequence[Mapping[str, Any]], note: str) -> None:
    """Writes a PNG with the difference in AUC of every comparison and its 95 % interval.

    Resolved differences are filled marks; those that are not are hollow.

    Args:
      path: of the PNG.
      entries: of `paired_comparison.compare`.
      note: drawn small under the marks; the place for what the data are.
    """
    shown = entries[:COMPARISONS_SHOWN]
    figure = new_figure(width=8.0, height=0.4 * len(shown) + 1.2)
    axes = figure.add_subplot()
    axes.axvline(0, color="0.6", linewidth=1, linestyle=":")
    for place, entry in enumerate(shown):
        difference = 100 * entry["difference"]
        low, high = (100 * end for end in entry["ci95"] or (entry["difference"],) * 2)
        axes.plot([low, high], [place, place], color=BLUE, linewidth=1.4)
        filled = BLUE if entry["verdict"] != UNRESOLVED else "white"
        axes.plot(difference, place, "o", color=BLUE, markerfacecolor=filled)
        label = "{dataset}, {fakes}: {a} - {b}".format(**entry)
        where = (0.01, place - 0.25)
        text = axes.text(*where, label, transform=axes.get_yaxis_transform(), fontsize=8)
        text.set(parse_math=False, in_layout=False)
    axes.set(yticks=[], ylim=(len(shown) - 0.5, -0.8))
    more = f" (the first {len(shown)} of {len(entries)})" if len(shown) < len(entries) else ""
    axes.set_xlabel(f"difference in AUC, %{more}")
    if note:
        figure.supxlabel(note, fontsize=8, parse_math=False, wrap=True)
    _save_png(figure, path)


def plot_training_curves(path: str | Path, metrics_path: str | Path, note: str = "") -> None:
    """Writes a PNG with loss, learning rate and validation AUC over steps, those that are there.

    Args:
      path: of the PNG.
      metrics_path: a run's `metrics.jsonl`: one object a line with `step`, `split` and numbers.
      note: drawn small under the curves; the place for what the data are.

    Raises:
      UserError: the file is missing, a line is no such object, or nothing is there to draw.
    """
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {
        "loss": {},
        "learning rate": {},
        "AUC": {},
    }
    for step, split, name, value in read_logged_numbers(Path(metrics_path)):
        panel = _panel_of_metric(name)
        if panel:
            panels[panel].setdefault(f"{split} {name}".strip(), []).append((step, value))
    shown = {title: curves for title, curves in panels.items() if curves}
    if not shown:
        raise UserError(
            f"{metrics_path} holds no loss, learning rate or AUC; name that of a training"
        )
    figure = new_figure(width=8.0, height=2.6 * len(shown) + 0.4)
    axes_list = np.ravel(figure.subplots(len(shown), 1, sharex=True, squeeze=False))
    for axes, (title, curves) in zip(axes_list, shown.items(), strict=True):
        axes.set_prop_cycle(color=_colours(len(curves)))
        for label, points in curves.items():
            steps, values = zip(*points, strict=True)
            marker = "." if len(points) <= 50 else ""
            axes.plot(steps, values, linewidth=1.3, marker=marker, label=f" {label}")
        axes.set_ylabel(title)
        axes.grid(color="0.9")
        add_legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes_list[-1].set_xlabel("step")
    if note:
        figure.supxlabel(note, fontsize=8, parse_math=False, wrap=True)
    _save_png(figure, path)


def _panel_of_metric(name: str) -> str | None:
    last = name.rsplit("/", 1)[-1]
    if "loss" in last:
        return "loss"
    if last in ("learning_rate", "lr"):
        return "learning rate"
    return "AUC" if "auc" in name.lower() else None


def read_logged_numbers(path: Path) -> Iterator[tuple[int, str, str, float]]:
    """Step, split, name and value of every number in a run's `metrics.jsonl`.

    Raises:
      UserError: the file is missing, or a line is no JSON object with a step.
    """
    for place, line in read_lines(path):
        try:
            record = json.loads(line)
            step, split = int(record["step"]), str(record.get("split", ""))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError(
                f"{place} is no JSON object with a step; give the metrics.jsonl of a run"
            ) from None
        for name, value in record.items():
            if name != "step" and isinstance(value, int | float):
                yield step, split, name, float(value)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, to be drawn without a display."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _colours(count: int) -> list[Any]:
    if count <= 10:
        return list(matplotlib.colormaps["tab10"](range(10)))
    return list(matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count)))


def add_legend(axes: Axes, **place: Any) -> Legend:
    """Adds a legend of the labels as they are: a `$` in a name is a `$`."""
    legend = axes.legend(fontsize=9, title_fontsize=9, frameon=False, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return legend


def _save_png(figure: Figure, path: str | Path) -> None:
    with atomic_write(path) as part:
        figure.savefig(part, format="png")
