"""The formats of a table: CSV for programs, Markdown for screens, LaTeX for papers.

All take what `tables.build_table` returns; numbers are in per cent.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from rffr_jax.experiments.printed_table import (
    NOTE_MARK,
    ON_OTHER_DATA,
    SEEN_MARK,
    UNTRAINED_MARK,
    WEAK_MARK,
    PrintedTable,
    given_text,
    has_separate_published_table,
    one_line,
    percent,
    printed_tables,
)
from rffr_jax.experiments.summary import unique
from rffr_jax.reports.markdown_table import markdown_table

_LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    **{"±": r"$\pm$", SEEN_MARK: r"$\dagger$", NOTE_MARK: r"$\ddagger$", WEAK_MARK: r"\S{}"},
    UNTRAINED_MARK: r"\P{}",
    **{"[": "{[}", "]": "{]}", "*": "{*}", "-": "{-}"},
}


def format_csv(table: Mapping[str, Any]) -> str:
    """One line for each cell of each row."""
    rows = [(row, row["source"]) for row in table["rows"]]
    if has_separate_published_table(table):
        rows += [(row, ON_OTHER_DATA) for row in table["published"]]
    lines = []
    for row, source in rows:
        decimals = 2 if row["source"] == "published" else 1
        ratio = row["mae_error_ratio"]
        for column, cell in row["cells"].items():
            low, high = cell["ci95"] or (None, None)
            lines.append(
                {
                    **{name: table[name] for name in ("name", "variant")},
                    **{name: row[name] for name in ("trained_on", "method", "rule")},
                    **{"source": source, "column": column, "chosen_by": cell["rule"]},
                    "seen": int(cell["seen"]),
                    **{"auc": percent(cell["auc"], decimals), "sd": percent(cell["sd"])},
                    **{"ci95_low": percent(low), "ci95_high": percent(high)},
                    "ci95_given": given_text(cell),
                    "published": percent(cell["published"], 2),
                    "difference": percent(cell["difference"]),
                    **{f"{name}s": _seeds(cell, name) for name in ("seed", "mae_seed")},
                    "inference_seconds": row["inference_seconds"] or "",
                    "mae_error_ratio": "" if ratio is None else f"{ratio:.3f}",
                    "own_auc": percent(row["own_auc"]),
                    "reference_auc": percent(row["reference_auc"]),
                    "note": cell.get("note") or ("" if decimals == 2 else _note(table, row)),
                    "command": table["command"],
                }
            )
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().rstrip("\n")


def _note(table: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What must be known of the row's data, MAEs and detectors."""
    doubts = [f"MAE of seed {seed}: {'; '.join(why)}" for seed, why in row["mae_doubts"].items()]
    doubts += [f"seed {seed}: {'; '.join(why)}" for seed, why in row["detector_doubts"].items()]
    return "; ".join(filter(None, [table["note"], *doubts]))


def _seeds(cell: Mapping[str, Any], name: str) -> str:
    return " ".join(str(seed) for seed in unique(r[name] for r in cell["runs"]) if seed is not None)


def format_markdown(table: Mapping[str, Any]) -> str:
    """Aligned tables, for a terminal too, with what must be known to read them."""
    parts = []
    for number, one in enumerate(printed_tables(table)):
        parts += [f"{'##' if number else '#'} {one.caption}", _markdown_rows(one), *one.notes]
    if table["command"]:
        parts.append(f"Made by:\n\n    {one_line(table['command'])}")
    return "\n\n".join(parts)


def _markdown_rows(table: PrintedTable) -> str:
    lines = [list(map(_markdown, table.headings))]
    for row in table.rows:
        texts = [_markdown(f"{cell.text} {cell.interval}".strip()) for cell in row]
        shown = zip(row, texts, strict=True)
        lines.append([f"**{text}**" if cell.best else text for cell, text in shown])
    return markdown_table(lines)


def _markdown(text: str) -> str:
    return one_line(text).replace("*", "\\*")


def format_latex(table: Mapping[str, Any]) -> str:
    """`table` environments that need no package; UTF-8 only where labels have it."""
    lines = [f"% Made by: {one_line(table['command'])}"]
    for number, one in enumerate(printed_tables(table)):
        columns = "l" * one.texts + "c" * (len(one.headings) - one.texts)
        lines += [
            r"\begin{table}",
            r"\centering\scriptsize",
            rf"\caption{{{latex(one.caption)}}}",
            rf"\label{{tab:{table['name']}{f'-{number}' if number else ''}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\hline",
            _latex_row(map(latex, one.headings)),
            r"\hline",
        ]
        for row in one.rows:
            texts = zip(row, (latex(cell.text) for cell in row), strict=True)
            lines.append(
                _latex_row(rf"\textbf{{{text}}}" if cell.best else text for cell, text in texts)
            )
            if any(cell.interval for cell in row):
                lines.append(_latex_row(latex(cell.interval) for cell in row))
        lines += [r"\hline", r"\end{tabular}", "", r"\raggedright"]
        lines += [*(f"\n{latex(note)}" for note in one.notes), r"\end{table}"]
    return "\n".join(lines)


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def latex(text: str) -> str:
    r"""Text that LaTeX prints as it stands, at the start of a row too, where [ and * would be
    arguments of \\."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))
