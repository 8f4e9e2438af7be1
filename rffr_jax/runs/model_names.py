"""How models are named: a folder of this machine, or `hf://OWNER/NAME@REVISION` on the hub.

Configs, cards and results keep the name; the folder is looked up where a model is read. The hub's
client and JAX are imported only for a name on the hub.
"""

import pathlib

from rffr_jax.config import HUB, local_path


def is_on_hub(name: str) -> bool:
    """Whether a model is named by its repository on the Hugging Face hub."""
    return name.startswith(f"{HUB}://")


def folder_of_model(name: str, option: str) -> pathlib.Path:
    """The folder that a config or a flag names; that in the hub's cache for a name on the hub.

    Args:
      option: the flag or config entry that names it, for messages.

    Raises:
      UserError: as for `rffr_jax.runs.hub.download_model`; the name is another address, or in a
        home folder that is not known.
    """
    if is_on_hub(name):
        from rffr_jax.runs.hub import download_model

        return download_model(name, option)[1]
    return local_path(name, option)


def pinned_model(name: str, option: str) -> str:
    """`hf://OWNER/NAME@COMMIT` for a name on the hub; other names stay as they are.

    Raises:
      UserError: as for `rffr_jax.runs.hub.download_model`.
    """
    if is_on_hub(name):
        from rffr_jax.runs.hub import download_model

        return download_model(name, option)[0]
    return name


def last_part(name: str) -> str:
    """The last part of a folder, or the NAME of `hf://OWNER/NAME@REVISION`."""
    if is_on_hub(name):
        name = name.partition("@")[0]
    return pathlib.Path(name).absolute().name
