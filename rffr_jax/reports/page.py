"""The frame of a report, and its pieces, for reports whose contents are put together as HTML."""

import html
import pathlib
from collections.abc import Sequence

from markupsafe import Markup

from rffr_jax.reports import pictures
from rffr_jax.reports.pictures import data_address as data_address
from rffr_jax.reports.templates import render


def page(title: str, sections: Sequence[tuple[str, str]], top: str) -> str:
    """A whole HTML page.

    Args:
      title: its heading, as plain text.
      sections: the title of each, as plain text, and its HTML.
      top: HTML that stands before the list of sections.
    """
    contents = {name: Markup(content) for name, content in sections}
    return render(
        "page.html", title=title, top=Markup(top), headings=list(contents), contents=contents
    )


def escaped(value: object) -> str:
    """A value as text that means nothing to HTML, in attributes either."""
    return html.escape(str(value), quote=True)


def plain_table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """A table of texts, all of them escaped."""
    return render("piece.html", piece="plain_table", values=(header, rows, caption))


def picture_file(path: pathlib.Path, most: int, caption: str) -> str:
    """A `figure` of a PNG file: see `pictures.picture_file`."""
    return render(
        "piece.html", piece="figure", values=(pictures.picture_file(path, most, caption),)
    )


def picture(data: bytes, caption: str) -> str:
    """A `figure` of the bytes of a PNG or JPEG, with its caption as plain text."""
    return render("piece.html", piece="figure", values=(pictures.picture(data, caption),))
