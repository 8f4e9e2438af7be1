"""Pictures of an evaluation and of a training run, and sheets of images.

Charts use matplotlib's object interface with its Agg canvas: no display, no global state. Sheets
are drawn with Pillow, so that every pixel of an image is a pixel (or a square of them) on paper.
"""

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from rffr_jax.data.examples import FAKE
from rffr_jax.errors import UserError
from rffr_jax.evaluation import metrics
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.results import against_all_reals
from rffr_jax.whole_files import whole_file

_SHEET_IMAGE_SIZE = 192
_SHEET_GAP = 8
_SHEET_FONT_SIZE = 15
_NOTE_FONT_SIZE = 11


def plot_roc(path: str | Path, predictions: Predictions, title: str) -> None:
    """Writes a PNG with a panel a dataset and a ROC curve a method, each against all reals.

    Args:
      path: of the PNG.
      predictions: of one or several datasets.
      title: above all panels; the place for the checkpoint's rule and for what the data are.

    Raises:
      UserError: a dataset lacks reals or fakes.
    """
    datasets = predictions.ordered().datasets()
    columns = min(len(datasets), 3)
    rows = -(-len(datasets) // columns)
    figure = _new_figure(width=5.0 * columns, height=5.0 * rows + 0.4)
    figure.suptitle(title, fontsize=11, parse_math=False, wrap=True)
    for number, (name, part) in enumerate(datasets.items(), start=1):
        metrics.require_both_classes(part.labels, name)
        axes = figure.add_subplot(rows, columns, number)
        _draw_roc(axes, part)
        axes.set_title(name, fontsize=11, parse_math=False)
    _save(figure, path)


def _draw_roc(axes: Axes, part: Predictions) -> None:
    methods = sorted({example.method for example in part.examples if example.label == FAKE})
    axes.set_prop_cycle(color=_colours(len(methods)))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
    for method in methods:
        pairs = against_all_reals(part, method)
        fpr, tpr = metrics.roc_points(pairs.labels, pairs.scores)
        area = metrics.auc(pairs.labels, pairs.scores)
        axes.plot(fpr, tpr, linewidth=1.6, label=f"{100 * area:.1f}  {method}")
    axes.set(xlabel="reals called fake", ylabel="fakes found", aspect="equal")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    if len(methods) <= 8:
        _add_legend(axes, title="AUC, %", loc="lower right")
    else:
        _add_legend(axes, title="AUC, %", loc="center left", bbox_to_anchor=(1.0, 0.5))


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
    for step, split, name, value in _logged_numbers(Path(metrics_path)):
        panel = _panel_of(name)
        if panel:
            panels[panel].setdefault(f"{split} {name}".strip(), []).append((step, value))
    shown = {title: curves for title, curves in panels.items() if curves}
    if not shown:
        raise UserError(f"{metrics_path} holds no loss, learning rate or AUC: nothing to draw")
    figure = _new_figure(width=8.0, height=2.6 * len(shown) + 0.4)
    axes_list = np.ravel(figure.subplots(len(shown), 1, sharex=True, squeeze=False))
    for axes, (title, curves) in zip(axes_list, shown.items(), strict=True):
        axes.set_prop_cycle(color=_colours(len(curves)))
        for label, points in curves.items():
            steps, values = zip(*points, strict=True)
            marker = "." if len(points) <= 50 else ""
            axes.plot(steps, values, linewidth=1.3, marker=marker, label=f" {label}")
        axes.set_ylabel(title)
        axes.grid(color="0.9")
        _add_legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes_list[-1].set_xlabel("step")
    if note:
        figure.supxlabel(note, fontsize=8, parse_math=False, wrap=True)
    _save(figure, path)


def _panel_of(name: str) -> str | None:
    last = name.rsplit("/", 1)[-1]
    if "loss" in last:
        return "loss"
    if last in ("learning_rate", "lr"):
        return "learning rate"
    return "AUC" if "auc" in name.lower() else None


def _logged_numbers(path: Path) -> Iterator[tuple[int, str, str, float]]:
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the metrics.jsonl of a run")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            step, split = int(record["step"]), str(record.get("split", ""))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError(f"{path} line {number} is no JSON object with a step") from None
        for name, value in record.items():
            if name != "step" and isinstance(value, int | float):
                yield step, split, name, float(value)


def _new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _colours(count: int) -> list[Any]:
    if count <= 10:
        return list(matplotlib.colormaps["tab10"](range(10)))
    return list(matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count)))


def _add_legend(axes: Axes, **place: Any) -> None:
    legend = axes.legend(fontsize=9, title_fontsize=9, frameon=False, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _save(figure: Figure, path: str | Path) -> None:
    with whole_file(path) as part:
        figure.savefig(part, format="png")


def image_pixels(image: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """An image in [0, 1] as 8-bit pixels; values outside are clipped."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def residual_pixels(
    residual: Float[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """A residual in [-1, 1] as 8-bit pixels (r + 1) / 2: no difference is mid-grey."""
    return image_pixels((residual + 1.0) / 2.0)


def contact_sheet(
    path: str | Path,
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    note: str = "",
) -> None:
    """Writes a PNG of images in rows and columns, pixel by pixel, with a title over each column.

    Images smaller than about 192 pixels are enlarged by a whole factor, each pixel to a square.

    Args:
      path: of the PNG.
      rows: equally many uint8 [height, width, 3] images a row, all of one size
        (`image_pixels` and `residual_pixels` make them).
      titles: one a column.
      note: drawn small under the images; the place for what the data are.

    Raises:
      ValueError: no image, rows of another length than `titles`, or images that differ in size.
    """
    if not rows or not titles or any(len(row) != len(titles) for row in rows):
        raise ValueError(f"need rows of {len(titles)} images, got {[len(row) for row in rows]}")
    forms = {(image.shape, image.dtype.name) for row in rows for image in row}
    height, width, *_ = shape = rows[0][0].shape
    if forms != {(shape, "uint8")} or shape != (height, width, 3):
        raise ValueError(f"need uint8 [height, width, 3] images of one size, got {sorted(forms)}")

    factor = max(1, round(_SHEET_IMAGE_SIZE / max(height, width)))
    height, width = factor * height, factor * width
    font = ImageFont.load_default(size=_SHEET_FONT_SIZE)
    column = max(width, *(int(np.ceil(font.getlength(title))) for title in titles))
    top = _SHEET_FONT_SIZE + 2 * _SHEET_GAP
    sheet_width = _SHEET_GAP + len(titles) * (column + _SHEET_GAP)
    bottom = top + len(rows) * (height + _SHEET_GAP)
    small = ImageFont.load_default(size=_NOTE_FONT_SIZE)
    letters = int((sheet_width - 2 * _SHEET_GAP) / small.getlength("m"))
    lines = textwrap.wrap(note, letters)
    line_height = _NOTE_FONT_SIZE + _SHEET_GAP // 2
    sheet = Image.new("RGB", (sheet_width, bottom + len(lines) * line_height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((_SHEET_GAP, bottom + number * line_height), line, fill="black", font=small)
    for j, title in enumerate(titles):
        left = _SHEET_GAP + j * (column + _SHEET_GAP)
        draw.text((left + column / 2, top / 2), title, fill="black", font=font, anchor="mm")
        for i, row in enumerate(rows):
            enlarged = row[j].repeat(factor, axis=0).repeat(factor, axis=1)
            corner = (left + (column - width) // 2, top + i * (height + _SHEET_GAP))
            sheet.paste(Image.fromarray(enlarged), corner)
    with whole_file(path) as part:
        sheet.save(part, format="PNG")
