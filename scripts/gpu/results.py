"""What a part found, as NAME.json and NAME.md."""

import pathlib
from collections.abc import Sequence
from typing import Any

from rffr_jax.reports.markdown_table import markdown_table
from rffr_jax.runs.atomic_files import atomic_write, write_json


def write_results(
    folder: pathlib.Path, name: str, found: dict[str, Any], table: Sequence[Sequence[str]]
):
    """Writes the numbers and a table of them.

    Args:
      folder: is made if it is not there.
      found: what JSON gets.
      table: rows of cells, of which the first are the headings.
    """
    write_json(folder / f"{name}.json", found)
    with atomic_write(folder / f"{name}.md") as part:
        part.write_text(markdown_table(table) + "\n", encoding="utf-8")
