"""The config of a worker: a process that does the runs in a file of `worker.run_all`.

python -m rffr_jax.main --config=rffr_jax/experiments/worker_config.py:RUNS --workdir=DIR
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config(runs: str) -> Config:
    """The config of a worker; `runs` is the file that lists its runs."""
    return ConfigDict({"job": "worker", "runs": runs})
