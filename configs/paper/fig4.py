"""Fig. 4: reconstructions of an autoencoder and of the MAE, and the residuals of both.

python -m rffr_jax.main --config=configs/paper/fig4.py:synthetic
"""

from ml_collections import ConfigDict

from configs.paper.base import base, unet
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    config = base("fig4", "an autoencoder beside the MAE", variant)
    config.autoencoders = ConfigDict({"unet": unet(variant), "mae": {}})
    config.rows = ConfigDict()
    config.galleries = ("unet", "mae")
    config.localise = bool(config.data.masks)
    return config
