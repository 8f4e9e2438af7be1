"""Table 4: the method beside backbones that read whole original images.

python -m rffr_jax.main --config=configs/paper/table4.py:synthetic
"""

from configs.paper.base import WHOLE_IMAGES, base, claim, numbered, rival, row
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    config = base("table4", "the method beside plain backbones", variant)
    config.rows = numbered(
        {
            "xception": row("Xception", **rival("xception", variant)),
            "vit": row("ViT", detector=WHOLE_IMAGES),
            "ours": row("Ours", "mae"),
        }
    )
    config.claims = numbered(
        {
            "xception": claim("RFFR beats a plain Xception", "Ours", "Xception"),
            "vit": claim("RFFR beats a plain ViT", "Ours", "ViT"),
        }
    )
    return config
