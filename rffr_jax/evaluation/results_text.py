"""The content of `results.json` as text for a terminal."""

from collections.abc import Sequence
from typing import Any

from rffr_jax.evaluation.results import ABOUT

_GROUPS_SHOWN = 5


def format_table(table: dict[str, Any]) -> str:
    """The table as aligned text for a terminal, rates in per cent, with the rule and warnings."""
    about = table[ABOUT]
    head = ("dataset", "fakes", "AUC", "95% interval", "AP", "EER", "acc", "TPR@1%", "video AUC")
    rows: list[tuple[str, ...]] = [(*head, "reals", "n fake", "bad")]
    for name, result in table.items():
        if name == ABOUT:
            continue
        for method, entry in result["methods"].items():
            mark = " *" if method in about["trained_methods"] else ""
            rows.append(_metrics_row(name, method + mark, entry))
        rows.append(_metrics_row(name, "(pooled)", result["pooled"]))
        blank = ("",) * (len(rows[0]) - 3)
        rows.append((name, "(mean, all)", _percent(result["mean_all"]), *blank))
        rows.append((name, "(mean, unseen)", _percent(result["mean_unseen"]), *blank))

    lines = _align_columns(rows)
    lines.append("")
    lines.append(f"checkpoint: {about['checkpoint']}, chosen by rule: {about['rule']}")
    lines.append("rates in %; each method against all reals of its dataset; * = trained on")
    lines.extend(["", *_threshold_lines(table), ""])
    lines.extend(f"warning: {warning}" for warning in about["warnings"])
    for name, files in about["bad"].items():
        lines.extend(f"left out of '{name}': {file}: {reason}" for file, reason in files.items())
    return "\n".join(lines)


def _threshold_lines(table: dict[str, Any]) -> list[str]:
    """Rates at the thresholds, calibration errors, and the groups with most false alarms."""
    point = table[ABOUT]["operating_point"]
    ppv = f"PPV at {100 * point['prevalence']:g}%"
    rows: list[tuple[str, ...]] = [("dataset", "fakes", "TPR@0.1%", "FPR", "TPR", ppv, "ECE")]
    videos: list[tuple[str, ...]] = [("dataset", "fakes", "FPR", "TPR", ppv, "reals", "n fake")]
    groups = []
    for name, result in table.items():
        if name == ABOUT:
            continue
        entries = {**result["methods"], "(pooled)": result["pooled"]}
        for fakes, entry in entries.items():
            at = entry["at_threshold"]
            ece = _percent(result["reliability"]["ece"]) if fakes == "(pooled)" else ""
            shown = (entry["tpr_at_fpr_1e-3"], at["fpr"], at["tpr"], at["ppv"])
            rows.append((name, fakes, *map(_percent, shown), ece))
            if at := entry["video_at_threshold"]:
                shown = map(_percent, (at["fpr"], at["tpr"], at["ppv"]))
                videos.append((name, fakes, *shown, str(at["n_real"]), str(at["n_fake"])))
        calibrated = result["reliability"]["ece_calibrated"]
        if calibrated is not None:
            rows.append((name, "(calibrated)", *("",) * 4, _percent(calibrated)))
        with_reals = [(g, e) for g, e in result["groups"].items() if e["n_real"]]
        worst = sorted(with_reals, key=lambda item: -item[1]["fpr"])[:_GROUPS_SHOWN]
        named = (f"{g} {_percent(e['fpr'])} of {e['n_real']}" for g, e in worst)
        if worst:
            groups.append(f"'{name}', FPR by group, the highest: {', '.join(named)}")
    image, video = point["thresholds"]["image"], point["thresholds"]["video"]
    chosen = "which nothing chose: name data.validation"
    if point["chosen_on"]:
        data = ", ".join(point["chosen_on"])
        chosen = f"chosen for {100 * image['max_fpr']:g}% FPR on {data}"
        if video:
            chosen += f"; of videos {video['value']:.6g}"
    lines = [*_align_columns(rows), "", f"threshold {image['value']:.6g}, {chosen}", *groups]
    if len(videos) > 1:
        lines += ["", "videos of several frames, at their threshold", *_align_columns(videos)]
    return lines


def _align_columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of cells under each other, with a rule where the first cell changes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for number, row in enumerate(rows):
        if number and row[0] != rows[number - 1][0]:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _metrics_row(dataset: str, fakes: str, entry: dict[str, Any]) -> tuple[str, ...]:
    interval = entry["auc_ci95"]
    return (
        dataset,
        fakes,
        _percent(entry["auc"]),
        "-" if interval is None else f"[{_percent(interval[0])}, {_percent(interval[1])}]",
        *(_percent(entry[key]) for key in ("ap", "eer", "accuracy", "tpr_at_fpr_1e-2")),
        _percent(entry["video_auc"]),
        *(str(entry[key]) for key in ("n_real", "n_fake", "n_bad")),
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
