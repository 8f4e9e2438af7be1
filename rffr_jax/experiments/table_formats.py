"""How a table is shown: CSV for programs, Markdown for screens, LaTeX for papers; in per cent.

All take what `tables.table_of` returns.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.experiments.claims import claim_lines
from rffr_jax.experiments.summary import MEAN_ALL, MEAN_UNSEEN, unique

RULES = {
    "last": "the weights of the last step, nothing chosen",
    "source": "chosen on the validation part of the training data",
    "oracle": "chosen on each test manipulation's own validation part",
    "transfer": "chosen on one foreign data set, tested on another",
    "cited": "taken by the paper from another one, which rule is not said",
    "unknown": "nothing says how the weights were chosen",
}
HEADINGS: Mapping[str, str] = {MEAN_ALL: "mean (all)", MEAN_UNSEEN: "mean (unseen)"}
CSV_COLUMNS = (
    *("table", "variant", "trained_on", "method", "rule", "source", "column", "chosen_by"),
    *("seen", "auc", "sd", "ci95_low", "ci95_high", "published", "verdict", "seeds", "mae_seeds"),
    *("inference", "note", "command"),
)
SEEN_MARK, NOTE_MARK = "†", "‡"
ELSEWHERE = "published, on other data"

_LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    **{"±": r"$\pm$", SEEN_MARK: r"$\dagger$", NOTE_MARK: r"$\ddagger$"},
    **{"[": "{[}", "]": "{]}", "*": "{*}", "-": "{-}"},
}


@dataclasses.dataclass(frozen=True)
class _Shown:
    """A cell: its number, and its interval, which LaTeX puts below."""

    number: str
    interval: str = ""
    bold: bool = False


def format_csv(table: Mapping[str, Any]) -> str:
    """One line for each cell of each row; numbers in per cent."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    shown = [(row, row["source"]) for row in table["rows"]]
    if not _beside(table):
        shown += [(row, ELSEWHERE) for row in table["published"]]
    for row, source in shown:
        for column, cell in row["cells"].items():
            low, high = cell["ci95"] or (None, None)
            seeds, maes = (
                unique(run[name] for run in cell["runs"] if run[name] is not None)
                for name in ("seed", "mae_seed")
            )
            writer.writerow(
                {
                    **{"table": table["name"], "variant": table["variant"]},
                    **{name: row[name] for name in ("trained_on", "method", "rule")},
                    **{"source": source, "column": column, "chosen_by": cell["rule"]},
                    "seen": int(cell["seen"]),
                    "auc": _printed(cell["auc"]) if _is_published(row) else _percent(cell["auc"]),
                    "sd": _percent(cell["sd"]),
                    **{"ci95_low": _percent(low), "ci95_high": _percent(high)},
                    "published": _printed(cell["published"]),
                    "verdict": cell["verdict"] or "",
                    **{"seeds": _listed(seeds, " "), "mae_seeds": _listed(maes, " ")},
                    "inference": _inference(row),
                    "note": cell.get("note") or ("" if _is_published(row) else table["note"]),
                    "command": table["command"],
                }
            )
    return text.getvalue().rstrip("\n")


def format_markdown(table: Mapping[str, Any]) -> str:
    """Aligned tables, for a terminal too, with what must be known to read them."""
    lines = [f"# {_one_line(table['title'])}", "", *_markdown_grid(table, table["rows"]), ""]
    lines += [f"{remark}\n" for remark in _remarks(table)]
    if table["command"]:
        lines += ["Made by:", "", f"    {_one_line(table['command'])}", ""]
    if table["claims"]:
        lines += ["## What the paper says of these rows", "", *claim_lines(table["claims"]), ""]
        lines += [
            "Differences of AUC in points, paired by detector seed, means over MAEs; 95 % "
            "intervals over detector seeds, on these test images.\n"
        ]
    if table["published"] and not _beside(table):
        lines += [f"## The paper's own rows: {ELSEWHERE}", ""]
        lines += [*_markdown_grid(table, table["published"]), ""]
    lines += _notes(table)
    return "\n".join(lines).rstrip("\n")


def format_latex(table: Mapping[str, Any]) -> str:
    """`table` environments that need no package; UTF-8 only where labels have it."""
    lines = [f"% Made by: {_one_line(table['command'])}"]
    remarks = [*_remarks(table), *_notes(table)]
    rows = table["rows"]
    lines += _latex_grid(table, rows, _one_line(table["title"]), table["name"], remarks)
    if table["published"] and not _beside(table):
        caption = f"{_one_line(table['title'])}: the paper's own rows, {ELSEWHERE}"
        lines += _latex_grid(table, table["published"], caption, f"{table['name']}-published", [])
    return "\n".join(lines)


def _beside(table: Mapping[str, Any]) -> bool:
    """Whether published rows stand among ours."""
    return any(_is_published(row) for row in table["rows"])


def _is_published(row: Mapping[str, Any]) -> bool:
    return row["source"] == "published"


def _grid(
    table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[_Shown]]]:
    """Headings, and the cells of each row."""
    there = {name for row in rows for name in row["cells"]}
    own = [c for c in table["columns"] if c in there]
    columns = own or [c for c in unique(c for row in rows for c in row["cells"]) if c != MEAN_ALL]
    if len(columns) > 1:
        columns = [*columns, *(mean for mean in (MEAN_ALL, MEAN_UNSEEN) if mean in there)]
    headings = ["trained on", "method", "rule", "source", *map(_heading, columns)]
    timed = any(_inference(row) for row in rows)
    if timed:
        headings.append("one image")
    body = []
    for row in rows:
        lead = (row["trained_on"] or "-", row["method"], _row_rule(row), row["source"])
        cells = [_cell(row, column, is_best(rows, row, column)) for column in columns]
        last = [_Shown(_inference(row) or "-")] if timed else []
        body.append([*map(_Shown, lead), *cells, *last])
    return headings, body


def _heading(column: str) -> str:
    return HEADINGS.get(column, column)


def _cell(row: Mapping[str, Any], column: str, best: bool) -> _Shown:
    cell = row["cells"].get(column)
    if cell is None:
        return _Shown("-")
    marks = (SEEN_MARK if cell["seen"] else "") + (NOTE_MARK if cell.get("note") else "")
    if _is_published(row):
        return _Shown(_printed(cell["auc"]) + marks)
    spread = "" if cell["sd"] is None else f" ± {_percent(cell['sd'])}"
    bounds = ", ".join(map(_percent, cell["ci95"] or ()))
    number = _percent(cell["auc"]) + spread + marks
    return _Shown(number, f"[{bounds}]" if bounds else "", best)


def is_best(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any], column: str) -> bool:
    """Whether it is the highest of several measured ones of the same training fakes and rule."""
    rivals = [
        other["cells"][column]["auc"]
        for other in rows
        if other["source"] == "measured"
        and (other["trained_on"], other["rule"]) == (row["trained_on"], row["rule"])
        and column in other["cells"]
    ]
    measured = row["source"] == "measured" and column in row["cells"]
    return measured and len(rivals) > 1 and row["cells"][column]["auc"] == max(rivals)


def _row_rule(row: Mapping[str, Any]) -> str:
    """The rule of the row, or of each column where they differ."""
    rules = {c: cell["rule"] for c, cell in row["cells"].items() if c not in HEADINGS}
    if set(rules.values()) <= {row["rule"]}:
        return row["rule"]
    return ", ".join(f"{column}: {rule}" for column, rule in rules.items())


def _remarks(table: Mapping[str, Any]) -> list[str]:
    """What must be known to read the numbers, a paragraph each."""
    remarks = [
        "AUC in %. ± is the standard deviation over runs, [ ] the 95 % interval over detector "
        "seeds (each the mean over its MAEs) and clusters of test images, for one seed over those "
        "alone; that of a mean over columns is no narrower than it should be. How MAEs differ is "
        f"in the JSON file. {SEEN_MARK}: trained on these fakes. Bold: the "
        "best measured of the same training fakes and rule."
    ]
    rows = [*table["rows"], *table["published"]]
    used = unique(name for row in rows for name in (row["rule"], *_column_rules(row)))
    known = [f"{rule}: {RULES[rule]}" for rule in used if rule in RULES]
    remarks.append(f"How the weights were chosen (rule): {'; '.join(known)}.")
    seeds, maes = _listed(table["seeds"]) or "none", _listed(table["mae_seeds"]) or "none"
    remarks.append(f"Data: {table['variant']}. Seeds of detectors: {seeds}; of MAEs: {maes}.")
    if table["note"]:
        remarks.append(f"Note: {_one_line(table['note'])}")
    return [*remarks, *table.get("remarks", ()), *_verdicts(table), *_extras(table)]


def _column_rules(row: Mapping[str, Any]) -> list[str]:
    return [cell["rule"] for column, cell in row["cells"].items() if column not in HEADINGS]


def _verdicts(table: Mapping[str, Any]) -> list[str]:
    """Which of our intervals contain what the paper printed, a line a row."""
    lines = []
    for row in table["rows"]:
        said: dict[str, list[str]] = {}
        for column, cell in row["cells"].items():
            if cell["verdict"] is not None:
                said.setdefault(cell["verdict"], []).append(_heading(column))
        if said:
            verdicts = "; ".join(f"{text} of {', '.join(names)}" for text, names in said.items())
            about = f"{row['method']}, trained on {row['trained_on']}, rule {row['rule']}"
            lines.append(f"{about}: the interval {verdicts}.")
    return lines


def _extras(table: Mapping[str, Any]) -> list[str]:
    return [
        f"{row['method']}: {row['extra']} of its examples are in no column and were left out."
        for row in table["rows"]
        if row.get("extra")
    ]


def _notes(table: Mapping[str, Any]) -> list[str]:
    """What must be said of single published numbers."""
    return [
        f"{NOTE_MARK} {row['method']}, trained on {row['trained_on']}, {column}: {cell['note']}."
        for row in table["published"]
        for column, cell in row["cells"].items()
        if cell.get("note")
    ]


def _inference(row: Mapping[str, Any]) -> str:
    """Time for one image: seconds, or what the paper printed."""
    seconds = row["inference_seconds"]
    return row.get("inference_time", "") if seconds is None else f"{seconds:.3g} s"


def _markdown_grid(table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    headings, body = _grid(table, rows)
    lines = [list(map(_markdown, headings))]
    for cells in body:
        texts = [_markdown(f"{cell.number} {cell.interval}".strip()) for cell in cells]
        shown = zip(cells, texts, strict=True)
        lines.append([f"**{text}**" if cell.bold else text for cell, text in shown])
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return texts


def _markdown(text: str) -> str:
    return _one_line(text).replace("|", "\\|").replace("*", "\\*")


def _latex_grid(
    table: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    caption: str,
    label: str,
    remarks: Sequence[str],
) -> list[str]:
    headings, body = _grid(table, rows)
    lines = [
        r"\begin{table}",
        r"\centering\scriptsize",
        rf"\caption{{{latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{'l' * 4}{'c' * (len(headings) - 4)}}}",
        r"\hline",
        _latex_row(map(latex, headings)),
        r"\hline",
    ]
    for cells in body:
        numbers = [latex(cell.number) for cell in cells]
        shown = zip(cells, numbers, strict=True)
        lines.append(_latex_row(rf"\textbf{{{n}}}" if cell.bold else n for cell, n in shown))
        if any(cell.interval for cell in cells):
            lines.append(_latex_row(latex(cell.interval) for cell in cells))
    lines += [r"\hline", r"\end{tabular}"]
    if remarks:
        lines += ["", r"\raggedright", *("\n" + latex(remark) for remark in remarks)]
    return [*lines, r"\end{table}"]


def _latex_row(cells: Any) -> str:
    return " & ".join(cells) + r" \\"


def latex(text: str) -> str:
    r"""Text that LaTeX prints as it stands, at the start of a row too, where [ and * would be
    arguments of \\."""
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _printed(share: float | None) -> str:
    """With the two decimals of the paper."""
    return "" if share is None else f"{100 * share:.2f}"


def _listed(values: Sequence[Any], between: str = ", ") -> str:
    return between.join(map(str, values))


def _one_line(text: str) -> str:
    return " ".join(text.split())
