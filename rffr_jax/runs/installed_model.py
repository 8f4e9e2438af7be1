"""The models of the distribution in `pretrained/`, where it is installed."""

import importlib.util
import pathlib

PACKAGE = "rffr_jax_pretrained"
"""An importable folder with model folders in it."""


def installed_model(name: str) -> pathlib.Path | None:
    """The folder of an installed model, `detector` or `mae`; None where none is installed."""
    package = importlib.util.find_spec(PACKAGE)
    if package and package.submodule_search_locations:
        return pathlib.Path(package.submodule_search_locations[0], name)
    return None
