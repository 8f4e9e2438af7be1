"""Table 7: Table 1 without any validation: the last weights are tested.

python -m rffr_jax.main --config=configs/paper/table7.py:synthetic
"""

from ml_collections import ConfigDict

from configs.paper.base import base, claim, manipulations, numbered, rival, row, trained_on
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    title = "trained on one manipulation, tested on all, no validation"
    config = base("table7", title, variant)
    methods = manipulations(variant)
    config.trained_on = ConfigDict({name: trained_on(fakes) for name, fakes in methods.items()})
    config.rows = numbered(
        {
            "xception": row("Xception", **rival("xception", variant)),
            "recce": row("RECCE", **rival("recce", variant)),
            "uia_vit": row("UIA-ViT", **rival("uia_vit", variant)),
            "ours": row("Ours", "mae"),
        }
    )
    config.claims = numbered(
        {
            "xception": claim("RFFR beats a plain Xception", "Ours", "Xception"),
            "recce": claim("RFFR beats RECCE", "Ours", "RECCE"),
            "uia_vit": claim("RFFR beats UIA-ViT", "Ours", "UIA-ViT"),
        }
    )
    config.rules = ("last",)
    return config
