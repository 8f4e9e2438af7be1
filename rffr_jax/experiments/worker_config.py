"""The config of a worker: a process that takes runs from a list in a JSON file.

python -m rffr_jax.main --config=rffr_jax/experiments/worker_config.py:RUNS.json --workdir=DIR
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config(runs: str) -> Config:
    """The config of a worker; `runs` names what it works on."""
    return ConfigDict({"job": "worker", "runs": runs})
