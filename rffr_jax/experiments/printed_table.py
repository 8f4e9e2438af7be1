"""A table as it is printed: captions, headings, cells as text, notes. Formats only set it.

The content of Markdown, LaTeX and HTML is decided here, once. `table_formats` and the report's
template turn it into their languages.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rffr_jax.evaluation.results import RULES
from rffr_jax.experiments.summary import MEAN_ALL, MEAN_UNSEEN, unique

HEADINGS: Mapping[str, str] = {MEAN_ALL: "mean (all)", MEAN_UNSEEN: "mean (unseen)"}
SEEN_MARK, NOTE_MARK, WEAK_MARK, UNTRAINED_MARK = "†", "‡", "§", "¶"
ON_OTHER_DATA = "published, on other data"
LEGEND = (
    f"AUC in %. ± is the standard deviation over runs. {SEEN_MARK}: trained on these fakes. Bold: "
    "the best measured of the same training fakes and rule."
)
INTERVALS_NOTE = (
    "[ ]: 95 % of a crossed bootstrap. It draws the people of the test, the MAEs and the detector "
    "seeds; AUC is taken within a training (a detector seed with a MAE), then averaged. Fewer than "
    "five MAEs or seeds are held fixed, and the interval speaks of no others."
)
CONTROLS_NOTE = (
    "{}: AUC of real faces under one trace of manipulation against the same faces untouched. "
    "50 is no reaction, and no column of them is part of a mean."
)
MAE_NOTE = (
    "MAE error: its squared error on unseen real faces over that of the best inpainting without a "
    "network (ridge regression, Telea or the mean face); of several MAEs the highest. Below 1 the "
    "MAE is better."
)
WEAK_NOTE = (
    f"{WEAK_MARK}: the MAE does not know faces well. The residuals show what it cannot draw, not "
    "what was manipulated."
)
REFERENCE_NOTE = (
    "Own / reference: AUC of the last weights on validation images of the fakes that a row was "
    "trained on, and that of a logistic regression on energies of high-pass filters, trained on "
    "the same images."
)
UNTRAINED_NOTE = (
    f"{UNTRAINED_MARK}: the detector counts as untrained, whatever its AUC elsewhere (smoke runs, "
    "and controls that rightly learn nothing, too)."
)
CLAIMS_NOTE = (
    "Points of AUC, taken within a training (a detector seed with a MAE), then averaged. [ ]: 95 % "
    "of a crossed bootstrap, which draws the people of the test, the MAEs and the detector seeds. "
    "Fewer than five MAEs or seeds are held fixed: the verdict then says 'given these', and the "
    "interval speaks of no others. Nothing is corrected for the number of claims."
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A text; of a number also its interval, and whether it is the best of its kind."""

    text: str
    interval: str = ""
    best: bool = False


@dataclasses.dataclass(frozen=True)
class PrintedTable:
    """Rows of cells below headings.

    Attributes:
      caption: what the table is.
      headings: one a column.
      texts: how many columns, from the left, hold words and not numbers.
      rows: a cell for each heading.
      kinds: of each row: measured, published, external, or "" for a claim.
      notes: what must be known to read it, a paragraph each.
    """

    caption: str
    headings: Sequence[str]
    texts: int
    rows: Sequence[Sequence[Cell]]
    kinds: Sequence[str]
    notes: Sequence[str]


def printed_tables(table: Mapping[str, Any]) -> list[PrintedTable]:
    """The results, the claims, and the paper's own rows where they are of other data.

    Args:
      table: as `tables.build_table` makes it.
    """
    title = one_line(table["title"])
    found = []
    if table["rows"]:
        found.append(_results_table(table, table["rows"], title, _table_notes(table)))
    if table["claims"]:
        found.append(_claims_table(table["claims"]))
    if has_separate_published_table(table):
        caption = f"{title}: the paper's own rows, {ON_OTHER_DATA}: compare orderings, not values"
        found.append(_results_table(table, table["published"], caption, []))
    return found


def has_separate_published_table(table: Mapping[str, Any]) -> bool:
    """Whether published rows stand in a table of their own."""
    beside = any(row["source"] == "published" for row in table["rows"])
    return bool(table["published"]) and not beside


# ---- results


def _results_table(
    table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], caption: str, notes: Sequence[str]
) -> PrintedTable:
    there = unique(name for row in rows for name in row["cells"])
    shown = [c for c in table["columns"] if c in there] or [c for c in there if c not in HEADINGS]
    if len(shown) > 1:
        shown += [mean for mean in HEADINGS if mean in there]
    lead = {
        "method": [row["method"] for row in rows],
        "trained on": [row["trained_on"] or "-" for row in rows],
        "rule": [_rule(row) for row in rows],
        "source": [row["source"] for row in rows],
    }
    lead, same = _split_varied(lead)
    more = {
        "one image": [_time(row) for row in rows],
        "MAE error": [_mae(row) for row in rows],
        "own / reference": [_own(row) for row in rows],
    }
    more = {name: texts for name, texts in more.items() if any(texts)}
    body = [
        [
            *(Cell(texts[number]) for texts in lead.values()),
            *(_cell(row, c, c not in table["controls"] and _is_best(rows, row, c)) for c in shown),
            *(Cell(texts[number] or "-") for texts in more.values()),
        ]
        for number, row in enumerate(rows)
    ]
    headings = [*lead, *(HEADINGS.get(c, c) for c in shown), *more]
    kinds = [row["source"] for row in rows]
    return PrintedTable(caption, headings, len(lead), body, kinds, [*same, *notes])


def _split_varied(lead: Mapping[str, Sequence[str]]) -> tuple[dict[str, Sequence[str]], list[str]]:
    """The columns that tell rows apart, the first always, and a note of what is the same."""
    first = next(iter(lead))
    kept = {name: texts for name, texts in lead.items() if name == first or len({*texts}) > 1}
    same = [f"{name} {texts[0] or '-'}" for name, texts in lead.items() if name not in kept]
    return kept, [f"All rows: {', '.join(same)}."] if same else []


def _cell(row: Mapping[str, Any], column: str, best: bool) -> Cell:
    cell = row["cells"].get(column)
    if cell is None:
        return Cell("-")
    marks = (SEEN_MARK if cell["seen"] else "") + (NOTE_MARK if cell.get("note") else "")
    if row["source"] == "published":
        return Cell(percent(cell["auc"], 2) + marks)
    bounds = ", ".join(map(percent, cell["ci95"] or ()))
    shown = percent(cell["auc"]) + _spread(cell) + marks
    return Cell(shown, f"[{bounds}]" if bounds else "", best)


def _is_best(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any], column: str) -> bool:
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


def _rule(row: Mapping[str, Any]) -> str:
    """The rule of the row, or of each column where they differ."""
    rules = {c: cell["rule"] for c, cell in row["cells"].items() if c not in HEADINGS}
    if set(rules.values()) <= {row["rule"]}:
        return row["rule"]
    return ", ".join(f"{column}: {rule}" for column, rule in rules.items())


def _time(row: Mapping[str, Any]) -> str:
    """Of one image: seconds, or what the paper printed."""
    seconds = row["inference_seconds"]
    return row.get("inference_time", "") if seconds is None else f"{seconds:.3g} s"


def _mae(row: Mapping[str, Any]) -> str:
    ratio = row["mae_error_ratio"]
    return "" if ratio is None else f"{ratio:.2f}{WEAK_MARK if row['mae_doubts'] else ''}"


def _own(row: Mapping[str, Any]) -> str:
    """AUC in the detector's own domain beside the reference's, in per cent."""
    own, reference = row["own_auc"], row["reference_auc"]
    known = own is not None and reference is not None
    text = f"{percent(own)} / {percent(reference)}" if known else ""
    return f"{text or '-'}{UNTRAINED_MARK}" if row["detector_doubts"] else text


# ---- claims


def _claims_table(claims: Sequence[Mapping[str, Any]]) -> PrintedTable:
    lead = {
        "claim": [claim["text"] + (NOTE_MARK if claim["caveat"] else "") for claim in claims],
        "trained on": [claim["trained_on"] for claim in claims],
        "column": [claim["column"] or HEADINGS[MEAN_UNSEEN] for claim in claims],
        "rule": [claim["rule"] for claim in claims],
        "seeds": [str(claim["seeds"]) for claim in claims],
        "MAEs": [str(claim["maes"]) for claim in claims],
    }
    lead, same = _split_varied(lead)
    body = []
    for number, claim in enumerate(claims):
        difference, bounds = claim["difference"], claim["ci95"]
        points = "" if difference is None else f"{100 * difference:+.1f}"
        interval = f"[{100 * bounds[0]:+.1f}, {100 * bounds[1]:+.1f}]" if bounds else ""
        by_mae = [f"{one['mae_seed']}: {100 * one['difference']:+.1f}" for one in claim["by_mae"]]
        texts = [Cell(column[number]) for column in lead.values()]
        verdict = Cell(claim["verdict"], best=True)
        body.append([*texts, verdict, Cell(points, interval), Cell(", ".join(by_mae))])
    headings = [*lead, "verdict", "points", "by MAE seed"]
    caption, kinds = "Does one row beat another?", [""] * len(body)
    caveats = unique(f"{NOTE_MARK} {c['text']}: {c['caveat']}." for c in claims if c["caveat"])
    notes = [*same, CLAIMS_NOTE, *caveats]
    return PrintedTable(caption, headings, len(lead) + 1, body, kinds, notes)


# ---- notes


def _table_notes(table: Mapping[str, Any]) -> list[str]:
    """What must be known to read the numbers, a paragraph each."""
    rows = [*table["rows"], *table["published"]]
    cells = [(name, cell) for row in rows for name, cell in row["cells"].items()]
    used = [row["rule"] for row in rows] + [c["rule"] for name, c in cells if name not in HEADINGS]
    rules = [f"{rule}: {RULES[rule]}" for rule in unique(used) if rule in RULES]
    seeds, maes = (", ".join(map(str, table[n])) or "none" for n in ("seeds", "mae_seeds"))
    data = f"Data: {table['variant']}. " if table["variant"] else ""
    remarks = [
        LEGEND,
        *_interval_notes(table["rows"]),
        *([CONTROLS_NOTE.format("; ".join(table["controls"]))] if table["controls"] else []),
        f"How the weights were chosen (rule): {'; '.join(rules)}.",
        f"{data}Seeds of detectors: {seeds}; of MAEs: {maes}.",
    ]
    if table["note"]:
        remarks.append(f"Note: {one_line(table['note'])}")
    remarks += [
        *table["remarks"],
        *_mae_notes(table["rows"]),
        *_reference_notes(table["rows"]),
        *_published_differences(table["rows"]),
    ]
    remarks += [
        f"{row['method']}: {row['extra']} of its examples are in no column and were left out."
        for row in table["rows"]
        if row.get("extra")
    ]
    remarks += [
        f"{NOTE_MARK} {row['method']}, trained on {row['trained_on']}, {column}: {cell['note']}."
        for row in table["published"]
        for column, cell in row["cells"].items()
        if cell.get("note")
    ]
    return remarks


def _interval_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which interval the numbers have: for other trainings, or given these."""
    methods: dict[str, list[str]] = {}
    for row in rows:
        for cell in row["cells"].values():
            if cell["ci95"] is not None:
                methods.setdefault(given_text(cell), []).append(row["method"])
    if not methods:
        return []
    held = {f"given {given}": unique(of) for given, of in methods.items() if given}
    if len(methods) == 1:
        texts = [f"{given}: all rows" for given in held]
    else:
        texts = [f"{given}: {', '.join(of)}" for given, of in held.items()]
    said = f" Here, {'; '.join(texts)}." if texts else ""
    return [INTERVALS_NOTE + said]


def _mae_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the errors of the MAEs mean, and which MAEs should not be used."""
    if all(row["mae_error_ratio"] is None for row in rows):
        return []
    weak: dict[str, list[str]] = {}
    for row in rows:
        for seed, doubts in row["mae_doubts"].items():
            weak.setdefault(f"the MAE of seed {seed}: {'; '.join(doubts)}", []).append(
                row["method"]
            )
    warnings = [f"{', '.join(unique(methods))}, {doubt}." for doubt, methods in weak.items()]
    return [MAE_NOTE, " ".join([WEAK_NOTE, *warnings])] if weak else [MAE_NOTE]


def _reference_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the reference is, and which detectors count as untrained."""
    warnings = [
        f"{row['method']}, trained on {row['trained_on']}, seed {seed}: {'; '.join(why)}."
        for row in rows
        for seed, why in row["detector_doubts"].items()
    ]
    notes = [REFERENCE_NOTE] if any(row["own_auc"] is not None for row in rows) else []
    return [*notes, " ".join([UNTRAINED_NOTE, *unique(warnings)])] if warnings else notes


def given_text(cell: Mapping[str, Any]) -> str:
    """The trainings that the cell's interval holds fixed; '' where it holds none."""
    return " and ".join(cell["given"])


def _published_differences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How far our numbers lie from what the paper printed, a line a row."""
    lines = []
    for row in rows:
        points = [
            f"{HEADINGS.get(column, column)} {100 * cell['difference']:+.1f}{_spread(cell)}"
            for column, cell in row["cells"].items()
            if cell["difference"] is not None
        ]
        if points:
            about = f"{row['method']}, trained on {row['trained_on']}, rule {row['rule']}"
            lines.append(f"{about}, measured - published, points: {', '.join(points)}.")
    return lines


def _spread(cell: Mapping[str, Any]) -> str:
    return "" if cell["sd"] is None else f" ± {percent(cell['sd'])}"


def percent(share: float | None, decimals: int = 1) -> str:
    """In per cent, with as many decimals; nothing for None."""
    return "" if share is None else f"{100 * share:.{decimals}f}"


def one_line(text: str) -> str:
    """The text with single spaces in place of line breaks."""
    return " ".join(text.split())
