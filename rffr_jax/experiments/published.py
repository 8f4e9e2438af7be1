"""The AUCs that the paper printed: to compare with, never measured here.

`published.csv` holds a line for each row of Tables 1-9 of Shi, Zhang and Shan, "Real Face
Foundation Representation Learning for Generalized Deepfake Detection". The rows of Fig. 1 are those
of Table 3.
"""

import csv
import pathlib
from typing import Any

from rffr_jax.experiments.run_result import UNKNOWN_TRAINING

FF_METHODS: tuple[str, ...] = ("DF", "F2F", "FSW", "NT")
COLUMNS = (*FF_METHODS, "mean_all", "Celeb-DF", "DFDC")


def read_published() -> dict[str, list[dict[str, Any]]]:
    """The rows of each table, by its name, in the paper's order.

    A row is as `tables.build_table` describes it, with `printed_in` and, of Table 9, the
    `inference_time` as printed. `trained_on` is FF for all four methods; `rule` is "cited" where
    the paper took the row from another one without saying; `mean_all` is the paper's "Avg". What
    must be said of a number is its cell's `note`.
    """
    tables: dict[str, list[dict[str, Any]]] = {}
    text = pathlib.Path(__file__).with_suffix(".csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        row: dict[str, Any] = {name: line[name] for name in ("trained_on", "method", "rule")}
        row |= {"source": "published", **UNKNOWN_TRAINING}
        row |= {"inference_time": line["inference_time"], "printed_in": line["source"]}
        row["cells"] = {column: _cell(line, column) for column in COLUMNS if line[column]}
        tables.setdefault(line["table"], []).append(row)
    return tables | {"fig1": tables["table3"]}


def _cell(line: dict[str, str], column: str) -> dict[str, Any]:
    noted, _, note = line["note"].partition(": ")
    # Table 2 chooses on Celeb-DF what it tests on DFDC.
    chosen_on_itself = (line["rule"], column) == ("transfer", "Celeb-DF")
    return {
        "auc": round(float(line[column]) / 100, 4),
        **{"sd": None, "ci95": None, "given": [], "runs": []},
        "rule": "oracle" if chosen_on_itself else line["rule"],
        "seen": column == line["trained_on"],
        **{"published": None, "difference": None},
        "note": note if noted == column else "",
    }


PUBLISHED = read_published()
