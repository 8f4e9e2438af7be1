"""How models are named: a folder of this machine, `box`, or `hf://OWNER/NAME@REVISION` on the hub.

Configs, cards and results keep the name; the folder is looked up where a model is read. The hub's
client and JAX are imported only for a name on the hub.
"""

import pathlib

from rffr_jax.config import HUB, local_path
from rffr_jax.errors import UserError
from rffr_jax.runs.installed_model import installed_model

BOX = "box"
"""The name of the installed detector, and of the MAE in it."""

_found: dict[str, pathlib.Path] = {}
"""Folders by `hf://OWNER/NAME@COMMIT`, so that a process asks the hub once for a model."""


def is_on_hub(name: str) -> bool:
    """Whether a model is named by its repository on the Hugging Face hub."""
    return name.startswith(f"{HUB}://")


def folder_of_model(name: str, option: str) -> pathlib.Path:
    """The folder that a config or a flag names; that in the hub's cache for a name on the hub.

    Args:
      option: the flag or config entry that names it, for messages.

    Raises:
      UserError: as for `rffr_jax.runs.hub.download_model`; no detector is installed; the name is
        another address, or in a home folder that is not known; `box` is also a file here.
    """
    if name == BOX:
        return _installed_detector(option)
    if is_on_hub(name):
        return _found[pinned_model(name, option)]
    return local_path(name, option)


def pinned_model(name: str, option: str) -> str:
    """`hf://OWNER/NAME@COMMIT` for a name on the hub; other names stay as they are.

    Raises:
      UserError: as for `rffr_jax.runs.hub.download_model`.
    """
    if not is_on_hub(name) or name in _found:
        return name
    from rffr_jax.runs.hub import download_model

    pinned, folder = download_model(name, option)
    _found[pinned] = folder
    return pinned


def is_portable(name: str) -> bool:
    """Whether a name means the same model on every machine."""
    return name == BOX or is_on_hub(name)


def last_part(name: str) -> str:
    """The last part of a folder, or the NAME of `hf://OWNER/NAME@REVISION`."""
    if is_on_hub(name):
        name = name.partition("@")[0]
    return pathlib.Path(name).absolute().name


def _installed_detector(option: str) -> pathlib.Path:
    if pathlib.Path(BOX).exists():
        raise UserError(
            f"{option}={BOX} is the installed detector, and here is something named {BOX}, too; "
            f"write ./{BOX} for that, or start from another folder"
        )
    folder = installed_model()
    if folder is None:
        raise UserError(
            f"{option}={BOX} is the installed detector, and none is installed; `pip install "
            "./pretrained` in the source tree, or name a workdir of detect or a model folder"
        )
    return folder
