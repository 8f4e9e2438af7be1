"""Table 8: where the residual comes from. 'None' reads only random blocks of the original.

Two controls are not in the paper: 'Zero', two branches, the second without information, and
'Ridge', which fills the blocks by a linear regression on the MAE's images.

python -m rffr_jax.main --config=configs/paper/table8.py:synthetic
"""

from ml_collections import ConfigDict

from configs.paper.base import base, claim, numbered, row, unet
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    config = base("table8", "where the residual comes from", variant)
    config.autoencoders = ConfigDict({"mae": {}, "unet": unet(variant)})
    config.rows = numbered(
        {
            "none": row("None", detector={"inputs": "original"}),
            "zero": row("Zero", detector={"residual": "zero"}),
            "unet": row("Autoencoder", "unet", detector={"residual": "unet"}),
            "high_pass": row("High-pass filter", detector={"residual": "high_pass"}),
            "ridge": row("Ridge", "mae", detector={"residual": "ridge"}),
            "mae": row("MIM", "mae"),
        }
    )
    where = {"column": "FSW"} if variant == "faceforensics" else {}
    config.claims = numbered(
        {
            "mim": claim(
                "reconstruction beats a high-pass filter", "MIM", "High-pass filter", **where
            ),
            "filter": claim(
                "a high-pass filter beats no residual", "High-pass filter", "None", **where
            ),
            "unet": claim("no residual beats an autoencoder's", "None", "Autoencoder", **where),
        }
    )
    return config
