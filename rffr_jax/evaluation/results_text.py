"""The content of `results.json` as text for a terminal."""

from collections.abc import Sequence
from typing import Any

from rffr_jax.evaluation.results import ABOUT
from rffr_jax.evaluation.score_files import describe_scores

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
            mark = " *" if method in (about["trained_methods"] or ()) else ""
            rows.append(_metrics_row(name, method + mark, entry))
        rows.append(_metrics_row(name, "(pooled)", result["pooled"]))
        blank = ("",) * (len(rows[0]) - 3)
        rows.append((name, "(mean, all)", _percent(result["mean_all"]), *blank))
        rows.append((name, "(mean, unseen)", _percent(result["mean_unseen"]), *blank))

    lines = [*_align_columns(rows), "", *_scores_lines(about)]
    lines.append("rates in %; each method against all reals of its dataset; * = trained on")
    lines.extend(["", *_threshold_lines(table), ""])
    lines.extend(f"warning: {warning}" for warning in about["warnings"])
    for name, files in about["bad"].items():
        lines.extend(f"left out of '{name}': {file}: {reason}" for file, reason in files.items())
    return "\n".join(lines)


def _scores_lines(about: dict[str, Any]) -> list[str]:
    if "tables" in about:
        return [describe_scores(name, made_by) for name, made_by in about["tables"].items()]
    return [f"checkpoint: {about['checkpoint']}, chosen by rule: {about['rule']}"]


def _threshold_lines(table: dict[str, Any]) -> list[str]:
    """Rates at the thresholds, calibration errors, and the groups with most false alarms."""
    point = table[ABOUT]["operating_point"]
    rates = ("FPR", "TPR", f"PPV at {100 * point['prevalence']:g}%", "at least")
    rows: list[tuple[str, ...]] = [
        ("dataset", "fakes", "TPR@0.1%", *rates, "ECE", "Brier", "Brier skill")
    ]
    videos: list[tuple[str, ...]] = [("dataset", "fakes", *rates, "reals", "n fake")]
    groups, reasons = [], {}
    for name, result in table.items():
        if name == ABOUT:
            continue
        for fakes, entry in {**result["methods"], "(pooled)": result["pooled"]}.items():
            errors = _errors(result["reliability"] if fakes == "(pooled)" else None, "")
            tpr = _percent(entry["tpr_at_fpr_1e-3"])
            rows.append((name, fakes, tpr, *_rates(entry["at_threshold"]), *errors))
            if at := entry["video_at_threshold"]:
                videos.append((name, fakes, *_rates(at), str(at["n_real"]), str(at["n_fake"])))
            for number, reason in entry["not_reported"].items():
                reasons.setdefault(f"{number} is not reported: {reason}", []).append(name)
        calibrated = _errors(result["reliability"], "_calibrated")
        if any(calibrated):
            rows.append((name, "(calibrated)", *("",) * 5, *calibrated))
        with_reals = [(g, e) for g, e in result["groups"].items() if e["n_real"]]
        worst = sorted(with_reals, key=lambda item: -item[1]["fpr"])[:_GROUPS_SHOWN]
        named = (f"{g} {_percent(e['fpr'])} of {e['n_real']}" for g, e in worst)
        if worst:
            groups.append(f"'{name}', FPR by group, the highest: {', '.join(named)}")
    image, video = point["thresholds"]["image"], point["thresholds"]["video"]
    chosen = "which nothing chose"
    if "tables" not in table[ABOUT]:
        chosen += ": name data.validation"
    if point["chosen_on"]:
        data = ", ".join(point["chosen_on"])
        chosen = f"chosen for {100 * image['max_fpr']:g}% FPR on {data}"
        if image["source"]:
            chosen += f" in each of its data sets, of which {image['source']} is the worst"
        if video:
            chosen += f"; of videos {video['value']:.6g}"
    lines = [*_align_columns(rows), "", f"threshold {image['value']:.6g}, {chosen}", *groups]
    lines += [f"{', '.join(dict.fromkeys(where))}: {said}" for said, where in reasons.items()]
    if len(videos) > 1:
        lines += ["", "videos of several frames, at their threshold", *_align_columns(videos)]
    return lines


def _rates(at: dict[str, Any] | None) -> list[str]:
    return [_percent(at[name] if at else None) for name in ("fpr", "tpr", "ppv", "ppv_low")]


def _errors(reliability: dict[str, Any] | None, which: str) -> list[str]:
    """Errors of the scores as probabilities, or of those with `_calibrated`; empty without."""
    names = (f"ece{which}", f"brier{which}", f"brier_skill{which}")
    if reliability is None or reliability[names[0]] is None:
        return [""] * len(names)
    return [_percent(reliability[name]) for name in names]


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


def format_interval(ends: Sequence[float] | None, style: str) -> str:
    """`[low, high]` in hundredths, each end in a format such as `+.1f`; empty for None."""
    return f"[{', '.join(format(100 * end, style) for end in ends)}]" if ends else ""


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
