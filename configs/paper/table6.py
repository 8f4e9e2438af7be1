"""Table 6: weights chosen by validation on the target, and the last weights.

The rule between them is the one that a user can follow: validation on the trained fakes chooses.

python -m rffr_jax.main --config=configs/paper/table6.py:synthetic
"""

from configs.paper.base import base, claim, numbered, rival, row
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    config = base("table6", "with validation on the target and without", variant)
    config.rows = numbered(
        {
            "xception": row("Xception", **rival("xception", variant)),
            "recce": row("RECCE", **rival("recce", variant)),
            "ours": row("Ours", "mae"),
        }
    )
    config.rules = ("oracle", "source", "last")
    config.claims = numbered(
        {
            "ours": claim("RFFR beats a plain Xception", "Ours", "Xception"),
            "recce": claim("RFFR beats RECCE", "Ours", "RECCE"),
        }
    )
    return config
