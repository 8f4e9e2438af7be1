"""Medians, rates and shares of what was measured; the JSON file and the Markdown tables."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rffr_jax.runs.atomic_files import atomic_write, write_json

EVALUATIONS, SETS, SET_IMAGES, STEPS, STEP_IMAGES = 300, 4, 280, 15_000, 32
"""The paper's Fig. 5: four sets every 50 of 15k steps; here of 280 images each, as FaceForensics++
has of one manipulation at one frame a video, and 32 images a step."""


@dataclasses.dataclass
class Result:
    """What one side of a row did; only `reason` where it could not take part.

    Attributes:
      work, dtype, batch: of the row.
      who: the side and its way.
      seconds: of one call, every repeat.
      images: of one call.
      flops: of the matrix products of one call, as this project counts its own.
      matrix_flops_per_second: the machine's measured rate while this row ran.
      difference: largest absolute one between its first output and this project's.
      memory: `place`, `peak_bytes`, and `before_bytes`, which hold weights and inputs.
    """

    work: str
    dtype: str
    batch: int
    who: str
    seconds: list[float] = dataclasses.field(default_factory=list)
    images: int = 0
    flops: int | None = None
    matrix_flops_per_second: float | None = None
    data_sheet_flops_per_second: float | None = None
    difference: float | None = None
    first_call_seconds: float | None = None
    compile_seconds: float | None = None
    temporary_bytes: int | None = None
    memory: dict[str, Any] | None = None
    reason: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def images_per_second(self) -> float:
        return self.images / self.median

    @property
    def flops_per_second(self) -> float | None:
        return None if self.flops is None else self.flops / self.median

    def to_json(self) -> dict[str, Any]:
        """All of it, and what follows from it."""
        held = dataclasses.asdict(self)
        if self.reason is not None:
            return {name: held[name] for name in ("work", "dtype", "batch", "who", "reason")}
        derived = {
            "median_seconds": self.median,
            "images_per_second": self.images_per_second,
            "flops_per_second": self.flops_per_second,
            "share_of_measured_rate": _share(self.flops_per_second, self.matrix_flops_per_second),
            "share_of_data_sheet": _share(self.flops_per_second, self.data_sheet_flops_per_second),
        }
        del held["reason"]
        return {**held, **derived}


def figure_5(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Hours of a detector training with four validation curves, from the rows `evaluate`, `detect`.

    Of each dtype that has all of these rows.
    """
    of_dtypes = {
        dtype: _figure_5([r for r in results if r.dtype == dtype])
        for dtype in dict.fromkeys(r.dtype for r in results)
    }
    return {dtype: hours for dtype, hours in of_dtypes.items() if hours is not None}


def _figure_5(results: Sequence[Result]) -> dict[str, float] | None:
    ours = {
        (r.work, r.who): r for r in results if r.reason is None and r.who.startswith("rffr_jax")
    }
    recomputed = ours.get(("evaluate", "rffr_jax, residuals recomputed"))
    kept = ours.get(("evaluate", "rffr_jax, residuals kept"))
    step = ours.get(("detect", "rffr_jax"))
    if recomputed is None or kept is None or step is None:
        return None
    images = SETS * SET_IMAGES
    once = images * (1 / recomputed.images_per_second - 1 / kept.images_per_second)
    training = STEPS * STEP_IMAGES / step.images_per_second / 3600
    evaluated = EVALUATIONS * images / 3600
    without = evaluated / recomputed.images_per_second
    with_kept = evaluated / kept.images_per_second + max(once, 0.0) / 3600
    return {
        "training_hours": training,
        "evaluation_hours_recomputed": without,
        "evaluation_hours_kept": with_kept,
        "times_less": (training + without) / (training + with_kept),
    }


def write(folder: Path, about: Mapping[str, Any], results: Sequence[Result]):
    """`benchmark.json` and `benchmark.md`, whole or not at all."""
    held = {**about, "figure_5": figure_5(results), "rows": [r.to_json() for r in results]}
    write_json(folder / "benchmark.json", held)
    with atomic_write(folder / "benchmark.md") as part:
        part.write_text(markdown(about, results), encoding="utf-8")


def markdown(about: Mapping[str, Any], results: Sequence[Result]) -> str:
    """A table for each row, and what it was measured with above them."""
    lines = [
        f"{about['date']}, {about['device']}, {about['cores']} cores.",
        ", ".join(f"{name} {version}" for name, version in about["versions"].items()) + ".",
        "",
        f"    {about['command']}",
        "",
        *(f"- {note}" for note in about["notes"]),
    ]
    rows: dict[tuple[str, str, int], list[Result]] = {}
    for result in results:
        rows.setdefault((result.work, result.dtype, result.batch), []).append(result)
    for (work, dtype, batch), sides in rows.items():
        lines += ["", f"### {work}, {dtype}, {batch} images a call", "", *_table(sides)]
    for dtype, hours in figure_5(results).items():
        lines += ["", f"Fig. 5's protocol in {dtype}, extrapolated: {_hours(hours)}"]
    return "\n".join(lines) + "\n"


def one_line(result: Result) -> str:
    """What is printed when a side has finished."""
    name = f"{result.work:9} {result.dtype:9} {result.who:34}"
    if result.reason is not None:
        return f"{name} unavailable: {result.reason}"
    rate = result.flops_per_second
    flops = "" if rate is None else f"  {rate / 1e12:8.3f} TFLOP/s"
    return f"{name} {_seconds(result):32} {result.images_per_second:10.3f} images/s{flops}"


def _table(sides: Sequence[Result]) -> list[str]:
    columns = (
        "", "seconds a call (min..max)", "images/s", "GFLOP", "TFLOP/s", "of the measured rate",
        "of the data sheet", "first call s", "peak memory GB", "of it beyond weights",
        "max abs difference",
    )  # fmt: skip
    lines = [_line(columns), _line(["---"] * len(columns))]
    for side in sides:
        if side.reason is not None:
            lines.append(_line([side.who, side.reason, *[""] * (len(columns) - 2)]))
            continue
        held = side.to_json()
        memory = side.memory or {}
        peak, before = memory.get("peak_bytes"), memory.get("before_bytes")
        beyond = None if peak is None or before is None else peak - before
        cells = (
            side.who,
            _seconds(side),
            f"{side.images_per_second:.4g}",
            _number(side.flops, 1e9, ".1f"),
            _number(side.flops_per_second, 1e12, ".4g"),
            _number(held["share_of_measured_rate"], 0.01, ".0f", " %"),
            _number(held["share_of_data_sheet"], 0.01, ".0f", " %"),
            _number(side.first_call_seconds, 1.0, ".1f"),
            _number(peak, 1e9, ".2f"),
            _number(beyond, 1e9, ".2f"),
            _number(side.difference, 1.0, ".1e"),
        )
        lines.append(_line(cells))
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _seconds(result: Result) -> str:
    low, high = min(result.seconds), max(result.seconds)
    return f"{result.median:.4g} ({low:.4g}..{high:.4g})"


def _number(value: float | int | None, unit: float, form: str, behind: str = "") -> str:
    return "-" if value is None else f"{value / unit:{form}}{behind}"


def _share(rate: float | None, whole: float | None) -> float | None:
    return None if rate is None or whole is None else rate / whole


def _hours(hours: Mapping[str, float]) -> str:
    return (
        f"only training {hours['training_hours']:.2f} h; its {EVALUATIONS} evaluations of {SETS} "
        f"sets of {SET_IMAGES} images {hours['evaluation_hours_recomputed']:.2f} h with residuals "
        f"recomputed every time, {hours['evaluation_hours_kept']:.2f} h with residuals kept; "
        f"together {hours['times_less']:.1f} times less."
    )
