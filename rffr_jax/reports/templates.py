"""Reports from Jinja templates: HTML pages that need no other file, and model cards in Markdown."""

import pathlib
from typing import Any

import jinja2

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
    autoescape=jinja2.select_autoescape(["html"]),
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Fills in a template of `templates/`, in HTML with every text escaped.

    Raises:
      jinja2.UndefinedError: a value is missing.
    """
    return ENVIRONMENT.get_template(template).render(values)
