"""A macro of a template, called as templates call it."""

from rffr_jax.reports.templates import ENVIRONMENT


def call(template: str, macro: str, *values: object) -> str:
    """The HTML of one macro."""
    return str(getattr(ENVIRONMENT.get_template(template).module, macro)(*values))
