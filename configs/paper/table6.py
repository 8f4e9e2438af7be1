"""Table 6: weights chosen by validation on the target, and the last weights.

The rule between them is the one that a user can follow: validation on the trained fakes chooses.

python -m rffr_jax.main --config=configs/paper/table6.py:synthetic
"""

from configs.paper.base import RANDOM_XCEPTION, base, claim, numbered, row, xception
from rffr_jax.config import Config


def get_config(variant: str = "synthetic") -> Config:
    config = base("table6", "with validation on the target and without", variant)
    config.rows = numbered(
        {"xception": row("Xception", **xception(variant)), "ours": row("Ours", "mae")}
    )
    config.rules = ("oracle", "source", "last")
    text = "RFFR beats a plain Xception"
    ours = claim(text, "Ours", "Xception", caveat=RANDOM_XCEPTION)
    config.claims = numbered({"ours": ours})
    return config
