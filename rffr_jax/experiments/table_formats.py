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
    PrintedTable,
    has_separate_published_table,
    join_values,
    percent,
    percent_two_decimals,
    printed_tables,
)
from rffr_jax.experiments.summary import unique
from rffr_jax.reports.markdown_table import markdown_table

_LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    **{"±": r"$\pm$", SEEN_MARK: r"$\dagger$", NOTE_MARK: r"$\ddagger$"},
    **{"[": "{[}", "]": "{]}", "*": "{*}", "-": "{-}"},
}


def format_csv(table: Mapping[str, Any]) -> str:
    """One line for each cell of each row."""
    lines = []
    others = (
        [(row, ON_OTHER_DATA) for row in table["published"]]
        if has_separate_published_table(table)
        else []
    )
    for row, source in [*((row, row["source"]) for row in table["rows"]), *others]:
        published = row["source"] == "published"
        for column, cell in row["cells"].items():
            low, high = cell["ci95"] or (None, None)
            seeds, maes = (
                join_values(unique(run[name] for run in cell["runs"] if run[name] is not None), " ")
                for name in ("seed", "mae_seed")
            )
            lines.append(
                {
                    **{name: table[name] for name in ("name", "variant")},
                    **{name: row[name] for name in ("trained_on", "method", "rule")},
                    **{"source": source, "column": column, "chosen_by": cell["rule"]},
                    "seen": int(cell["seen"]),
                    "auc": percent_two_decimals(cell["auc"]) if published else percent(cell["auc"]),
                    "sd": percent(cell["sd"]),
                    **{"ci95_low": percent(low), "ci95_high": percent(high)},
                    **{
                        "published": percent_two_decimals(cell["published"]),
                        "verdict": cell["verdict"] or "",
                    },
                    **{"seeds": seeds, "mae_seeds": maes},
                    "inference_seconds": row["inference_seconds"] or "",
                    "note": cell.get("note") or ("" if published else table["note"]),
                    "command": table["command"],
                }
            )
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().rstrip("\n")


def format_markdown(table: Mapping[str, Any]) -> str:
    """Aligned tables, for a terminal too, with what must be known to read them."""
    parts = []
    for number, one in enumerate(printed_tables(table)):
        parts += [f"{'##' if number else '#'} {one.caption}", _markdown_rows(one), *one.notes]
    if table["command"]:
        parts.append(f"Made by:\n\n    {_one_line(table['command'])}")
    return "\n\n".join(parts)


def _markdown_rows(table: PrintedTable) -> str:
    lines = [list(map(_markdown, table.headings))]
    for row in table.rows:
        texts = [_markdown(f"{cell.text} {cell.interval}".strip()) for cell in row]
        shown = zip(row, texts, strict=True)
        lines.append([f"**{text}**" if cell.best else text for cell, text in shown])
    return markdown_table(lines)


def _markdown(text: str) -> str:
    return _one_line(text).replace("*", "\\*")


def format_latex(table: Mapping[str, Any]) -> str:
    """`table` environments that need no package; UTF-8 only where labels have it."""
    lines = [f"% Made by: {_one_line(table['command'])}"]
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
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
