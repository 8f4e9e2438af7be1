"""Which of two or more evaluated detectors is better, and where that cannot be told.

python -m rffr_jax.main --config=configs/compare.py --config.runs=runs/evaluate_a,runs/evaluate_b
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "compare"
    # Workdirs of evaluate, or tables of predictions: A,B.
    config.runs = ""
    # Of the bootstrap. Fewer cannot resolve many pairs at once.
    config.replicates = 10_000
    return config
