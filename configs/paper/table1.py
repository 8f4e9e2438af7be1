"""Table 1: training on each manipulation, tests on all four. The target chooses the weights.

python -m rffr_jax.main --config=configs/paper/table1.py:synthetic
"""

from ml_collections import ConfigDict

from configs.paper.base import base, claim, manipulations, numbered, rival, row, trained_on
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    config = base("table1", "trained on one manipulation, tested on all", variant)
    methods = manipulations(variant)
    config.trained_on = ConfigDict({name: trained_on(fakes) for name, fakes in methods.items()})
    config.rows = numbered(
        {
            "recce": row("RECCE", **rival("recce", variant)),
            "uia_vit": row("UIA-ViT", **rival("uia_vit", variant)),
            "ours": row("Ours", "mae"),
        }
    )
    config.claims = numbered(
        {
            "recce": claim("RFFR beats RECCE", "Ours", "RECCE"),
            "uia_vit": claim("RFFR beats UIA-ViT", "Ours", "UIA-ViT"),
        }
    )
    config.rules = ("oracle",)
    return config
