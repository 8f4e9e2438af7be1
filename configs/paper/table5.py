"""Table 5: full or random blocks of the original, of the residual, of both.

A full residual is zero in the outer ring that no block covers. Where there is such a ring, further
rows use only the covered patches.

python -m rffr_jax.main --config=configs/paper/table5.py:synthetic
"""

from configs.paper.base import base, claim, numbered, row
from rffr_jax.config import Config

BOTH = "original and residual"
INPUTS = {"original": "original", "residual": "residual", "both": BOTH}


def get_config(variant: str = "synthetic") -> Config:
    config = base("table5", "what the classifier reads", variant)
    rows = {}
    for blocks in ("full", "random"):
        for inputs, label in INPUTS.items():
            autoencoder = "" if inputs == "original" else "mae"
            detector = {"inputs": inputs, "blocks": blocks}
            rows[f"{blocks}_{inputs}"] = row(
                f"{blocks.capitalize()} {label}", autoencoder, detector=detector
            )
    if variant == "faceforensics":
        for inputs in ("residual", "both"):
            detector = {"inputs": inputs, "blocks": "covered"}
            rows[f"covered_{inputs}"] = row(f"Covered {INPUTS[inputs]}", "mae", detector=detector)
    config.rows = numbered(rows)
    where = {"column": "FSW"} if variant == "faceforensics" else {}
    config.claims = numbered(
        {
            **{
                f"random_{inputs}": claim(
                    f"random blocks beat full images: {label}",
                    f"Random {label}",
                    f"Full {label}",
                    **where,
                )
                for inputs, label in INPUTS.items()
            },
            **{
                f"both_{inputs}": claim(
                    f"both inputs beat only the {label}",
                    f"Random {BOTH}",
                    f"Random {label}",
                    **where,
                )
                for inputs, label in INPUTS.items()
                if label != BOTH
            },
        }
    )
    return config
