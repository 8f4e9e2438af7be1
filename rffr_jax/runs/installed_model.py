"""The model of the distribution in `pretrained/`, where it is installed."""

import importlib.util
import pathlib

PACKAGE = "rffr_jax_pretrained"
"""An importable folder with the model folder in it."""


def installed_model() -> pathlib.Path | None:
    """The folder of the installed detector, with its MAE; None where none is installed."""
    package = importlib.util.find_spec(PACKAGE)
    if package and package.submodule_search_locations:
        return pathlib.Path(package.submodule_search_locations[0], "detector")
    return None
