"""A config file that takes its values from JSON: how a process is told a run of a grid.

python -m rffr_jax.main --config=rffr_jax/experiments/stored_config.py:RUN/config.json
"""

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config(file: str) -> Config:
    return ConfigDict(_with_tuples(json.loads(pathlib.Path(file).read_text(encoding="utf-8"))))


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_tuples(entry) for name, entry in value.items()}
    return tuple(value) if isinstance(value, list) else value
