"""Fig. 4: reconstructions of an autoencoder, of RECCE and of the MAE, and their residuals.

python -m rffr_jax.main --config=configs/paper/fig4.py:synthetic
"""

from ml_collections import ConfigDict

from configs.paper.base import base, rival, row, unet
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    config = base("fig4", "an autoencoder and RECCE beside the MAE", variant)
    config.autoencoders = ConfigDict(
        {"unet": unet(variant), "recce": row("RECCE", **rival("recce", variant)), "mae": {}}
    )
    config.rows = ConfigDict()
    config.galleries = ("unet", "recce", "mae")
    config.localise = bool(config.data.masks)
    return config
