"""The keys of a config with their defaults, and the comments that its file has above them."""

import dataclasses
import importlib
import inspect
import re
from types import ModuleType
from typing import Any

from rffr_jax.config import INNER_JOBS, flat
from rffr_jax.errors import UserError

_ASSIGNMENT = re.compile(r"^ *config\.([\w.]+(?:, config\.[\w.]+)*) = ")


@dataclasses.dataclass(frozen=True)
class ConfigKey:
    """A key of a config.

    Attributes:
      name: dotted, as in `--config.NAME=VALUE`.
      default: its value where nobody sets it.
      comment: of the key, else of the section that it is in; "" without any.
    """

    name: str
    default: Any
    comment: str


def config_keys(name: str, variant: str = "") -> list[ConfigKey]:
    """The keys of a config, by their names.

    Args:
      name: such as `pretrain` or `paper/table5`; `configs` is importable.
      variant: what `get_config` takes; "" for its default.

    Raises:
      UserError: there is no such variant.
    """
    module = config_module(name)
    if variant and not inspect.signature(module.get_config).parameters:
        raise UserError(f"{name} has no variants; leave :{variant} out")
    config = module.get_config(*filter(None, [variant]))
    comments = _comments(module, config.job)
    values = flat(config.copy_and_resolve_references().to_dict())
    return [ConfigKey(key, value, _nearest(comments, key)) for key, value in values.items()]


def config_module(name: str) -> ModuleType:
    """The module of a config, such as `pretrain` or `paper/table5`; `configs` is importable."""
    return importlib.import_module("configs." + name.replace("/", "."))


def comments_in(source: str) -> dict[str, str]:
    """The comment above the line of each key, by the key's dotted name."""
    found, above = {}, []
    for line in source.splitlines():
        if line.lstrip().startswith("# "):
            above.append(line.strip().removeprefix("# "))
            continue
        if above and (assigned := _ASSIGNMENT.match(line)):
            for key in assigned[1].split(", config."):
                found[key] = " ".join(above)
        above = []
    return found


def _comments(module: ModuleType, job: str) -> dict[str, str]:
    """The comments of a config, and those of the configs that it changes."""
    found = {}
    if job == "experiment":
        for inner in INNER_JOBS:
            comments = comments_in(inspect.getsource(config_module(inner)))
            found |= {f"{inner}.{key}": comment for key, comment in comments.items()}
    changed = config_module("paper/base" if job == "experiment" else job)
    return found | comments_in(inspect.getsource(changed)) | comments_in(inspect.getsource(module))


def _nearest(found: dict[str, str], key: str) -> str:
    """The comment of a key, else that of the section that it is in."""
    while key and key not in found:
        key = key.rpartition(".")[0]
    return found.get(key, "")
