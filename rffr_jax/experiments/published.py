"""The AUCs that the paper printed, in per cent: to compare with, never measured here.

`published.csv` holds a line for each row of Tables 1-9 of Shi, Zhang and Shan, "Real Face
Foundation Representation Learning for Generalized Deepfake Detection". The rows of Fig. 1 are those
of Table 3.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping

FF_METHODS: tuple[str, ...] = ("DF", "F2F", "FSW", "NT")
COLUMNS = (*FF_METHODS, "mean_all", "Celeb-DF", "DFDC")


@dataclasses.dataclass(frozen=True)
class PublishedRow:
    """A row of a table, as printed.

    Attributes:
      trained_on: DF, F2F, FSW, NT, or FF for all four.
      method: label of the row; those of the authors' own rows are the ones that ours carry.
      rule: how the weights were chosen: oracle, transfer, last, or cited where the paper took the
        row from another one without saying.
      percent: AUC by the label of the column, `mean_all` being the paper's "Avg".
      notes: by the label of the column, what must be said of a number.
      inference_time: of Table 9, as printed.
      source: where it is printed.
    """

    trained_on: str
    method: str
    rule: str
    percent: Mapping[str, float]
    notes: Mapping[str, str]
    inference_time: str
    source: str


def read_published() -> dict[str, list[PublishedRow]]:
    """The rows of each table, by its name, in the paper's order."""
    tables: dict[str, list[PublishedRow]] = {}
    text = pathlib.Path(__file__).with_suffix(".csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        column, _, note = line["note"].partition(": ")
        row = PublishedRow(
            line["trained_on"],
            line["method"],
            line["rule"],
            {column: float(line[column]) for column in COLUMNS if line[column]},
            {column: note} if note else {},
            line["inference_time"],
            line["source"],
        )
        tables.setdefault(line["table"], []).append(row)
    return tables | {"fig1": tables["table3"]}


PUBLISHED = read_published()
