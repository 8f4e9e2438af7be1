"""Fig. 3: real and fake faces, their reconstructions and their residuals.

On data with masks it measures whether the residuals are strong where fakes were manipulated.

python -m rffr_jax.main --config=configs/paper/fig3.py:synthetic
"""

from ml_collections import ConfigDict

from configs.paper.base import base
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    config = base("fig3", "reconstructions of real and fake faces", variant)
    config.rows = ConfigDict()
    config.localise = bool(config.data.masks)
    return config
