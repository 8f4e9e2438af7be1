"""A table of the paper as HTML: the best in bold, who measured what, which rule chose."""

from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.experiments.summary import MEANS
from rffr_jax.experiments.table_formats import is_best
from rffr_jax.reports.page import escaped, plain_table

RULES = {
    "last": "the weights after the last step; nothing was chosen",
    "source": "chosen on validation data of the domain that was trained on",
    "oracle": "chosen on labelled validation fakes of the very target that is tested: optimistic",
    "transfer": "chosen on a foreign data set and tested on another",
    "cited": "taken by the paper from another one, which does not say",
    "unknown": "nobody can tell from the names of the data",
}

VERDICTS = {
    "contains the published value": "inside",
    "does not contain the published value": "outside",
}

Row = Mapping[str, Any]


def results_table(rows: Sequence[Row], columns: Sequence[str], caption: str) -> str:
    """Rows in groups of what they were trained on.

    A cell holds the mean AUC in per cent, its spread over runs and its interval; the best of each
    group, rule and column is bold where several were measured.

    Args:
      rows: as in a table's JSON file.
      columns: to show, if any row has them; the means come last.
    """
    keys = [key for key in (*columns, *MEANS) if any(key in row["cells"] for row in rows)]
    timed = any(row.get("inference_seconds") or row.get("inference_time") for row in rows)
    heads = ["method", "weights", *(MEANS.get(key, key) for key in keys)]
    heads += ["an image takes"] if timed else []
    classes = ["", "", *(' class="number"' for _ in heads[2:])]
    lines = [f'<div class="wide"><table><caption>{escaped(caption)}</caption>', "<thead><tr>"]
    lines += [
        f'<th scope="col"{kind}>{escaped(name)}</th>'
        for name, kind in zip(heads, classes, strict=True)
    ]
    lines.append("</tr></thead>")
    for trained_on in dict.fromkeys(row["trained_on"] for row in rows):
        group = [row for row in rows if row["trained_on"] == trained_on]
        name = f"trained on {trained_on}" if trained_on else "trained on: not known"
        lines.append('<tbody><tr class="group">')
        lines.append(f'<th scope="rowgroup" colspan="{len(heads)}">{escaped(name)}</th></tr>')
        for row in group:
            label = row["method"] if row["source"] == "measured" else _named_source(row)
            lines.append(f'<tr class="{escaped(row["source"])}">')
            lines.append(f'<th scope="row">{escaped(label)}</th><td>{escaped(row["rule"])}</td>')
            for key in keys:
                cell = row["cells"].get(key)
                bold = is_best(group, row, key)
                lines.append(f'<td class="number">{_cell(cell, row["rule"], bold)}</td>')
            if timed:
                lines.append(f'<td class="number">{escaped(_time(row))}</td>')
            lines.append("</tr>")
        lines.append("</tbody>")
    lines.append("</table></div>")
    return "\n".join(lines)


def _named_source(row: Row) -> str:
    return f"{row['method']} ({'the paper' if row['source'] == 'published' else row['source']})"


def _time(row: Row) -> str:
    if row.get("inference_seconds"):
        return f"{1000 * row['inference_seconds']:.1f} ms"
    return row.get("inference_time") or ""


def _cell(cell: Mapping[str, Any] | None, rule: str, bold: bool) -> str:
    if cell is None or cell["auc"] is None:
        return ""
    number = f"{100 * cell['auc']:.1f}"
    shown = f"<strong>{number}</strong>" if bold else number
    shown += "*" if cell["seen"] else ""
    if cell.get("sd") is not None:
        shown += f" ± {100 * cell['sd']:.1f}"
    small = []
    if cell.get("ci95"):
        low, high = cell["ci95"]
        small.append(f"[{100 * low:.1f}, {100 * high:.1f}]")
    if cell.get("verdict"):
        small.append(f"paper {100 * cell['published']:.1f}: {VERDICTS[cell['verdict']]}")
    if cell["rule"] != rule:
        small.append(cell["rule"])
    if cell.get("note"):
        small.append(cell["note"])
    return shown + "".join(f'<span class="small">{escaped(line)}</span>' for line in small)


def legend(rows: Sequence[Row]) -> str:
    """What the signs and the rules of a table mean, as a list."""
    cells = [cell for row in rows for cell in row["cells"].values()]
    lines = ["AUC in per cent; bold: the best measured of its group, rule and column."]
    if any(cell["seen"] for cell in cells):
        lines.append("* the detector was trained on these fakes.")
    if any(cell.get("sd") is not None for cell in cells):
        lines.append("± standard deviation over runs (pairs of seeds).")
    if any(cell.get("ci95") for cell in cells):
        lines.append("[low, high]: 95 % interval of the mean.")
    if any(cell.get("verdict") for cell in cells):
        lines.append("paper N: inside or outside says whether the interval contains N.")
    said = [rule for row in rows for rule in (row["rule"], *(c["rule"] for c in cells))]
    named = dict.fromkeys(part for rule in said for part in rule.split(", "))
    lines += [f"{rule}: {RULES[rule]}." for rule in named if rule in RULES]
    return '<ul class="small">' + "".join(f"<li>{escaped(s)}</li>" for s in lines) + "</ul>"


def claims_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """What the paper says, and whether the numbers bear it out."""
    rows = []
    for claim in claims:
        difference = interval = ""
        if claim["difference"] is not None:
            difference = f"{100 * claim['difference']:+.1f}"
        if claim["ci95"]:
            interval = "[{:+.1f}, {:+.1f}]".format(*(100 * bound for bound in claim["ci95"]))
        where = ", ".join(filter(None, (claim["trained_on"], claim["column"] or "mean unseen")))
        rows.append(
            (claim["text"], claim["verdict"], difference, interval, where, claim["rule"])
            + (claim["seeds"],)
        )
    header = ("the paper says", "verdict", "points", "95 %", "trained on, column", "weights")
    note = (
        "Points of AUC, paired by detector seed; the intervals are over detector seeds, with these "
        "MAEs, on these test images, and are not corrected for the number of claims."
    )
    return plain_table((*header, "seeds"), rows) + f'<p class="small">{note}</p>'
