"""Fig. 5: the AUC of every manipulation while the detectors train.

python -m rffr_jax.main --config=configs/paper/fig5.py:synthetic
"""

from configs.paper.base import WHOLE_IMAGES, base, numbered, rival, row
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    config = base("fig5", "validation curves", variant)
    config.rows = numbered(
        {
            "xception": row("Xception", **rival("xception", variant)),
            "recce": row("RECCE", **rival("recce", variant)),
            "vit": row("ViT", detector=WHOLE_IMAGES),
            "ours": row("Ours", "mae"),
        }
    )
    config.rules = ("last",)
    config.figures = ("curves",)
    return config
