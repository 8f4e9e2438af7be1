"""Fig. 1: the detector without RFFR, with it, and with more real faces for it, as bars.

python -m rffr_jax.main --config=configs/paper/fig1.py:synthetic
"""

from configs.paper.real_faces import real_faces
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    title = "without RFFR, with it, with more real faces"
    config = real_faces("fig1", title, variant)
    config.figures = ("bars",)
    return config
