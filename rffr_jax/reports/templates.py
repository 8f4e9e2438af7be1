"""Reports from Jinja templates: one HTML file that needs no other; every text is escaped."""

import pathlib
from typing import Any

import jinja2

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Fills in a template of `templates/`; a value that it lacks is an error."""
    return _ENVIRONMENT.get_template(template).render(values)
