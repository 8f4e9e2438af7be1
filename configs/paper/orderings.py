"""Does RFFR beat its controls? Over units of photographs, each with its own people and MAE.

python -m rffr_jax.main --config=configs/paper/orderings.py:64

A unit is a split of the people (scripts/make_photograph_benchmark.py --unit N, for N = 0 to 7), a
MAE and a seed of the detectors. Every row is trained on each of four landmark manipulations in turn
and on self-blended images, and tested on all four. All rows start from the unit's MAE and learn
alike; a logistic regression stands beside them.

variant   rows                                          units  hours of 2 cores
64        plain, random blocks, zero, high-pass, RFFR   8      8; five units took about one each
112       the same                                      8      42, by arithmetic
64_more   residual only, ridge, full blocks, UNet       2      2, shares the MAEs of 64
112_more  the same                                      2      7, by arithmetic; as 64_more
smoke     as 64, on drawn faces                         2      minutes; it only shows that it runs

Add --dry-run for the hours that are left, and --config.seeds="(0,1)" for some of the units. Units
of other machines are joined by --config.units=DIR,DIR: docs/paper.md.
"""

from ml_collections import ConfigDict

from configs.paper.base import claim, common, numbered, reference_row, row
from configs.paper.units import drawn_faces, photographs
from rffr_jax.config import Config
from rffr_jax.errors import UserError

OURS = "RFFR"
UNITS, UNITS_WITHOUT_CLAIM = tuple(range(8)), (0, 1)
VARIANTS = ("64", "112", "64_more", "112_more", "smoke")


def get_config(variant: str = "64") -> Config:
    size, _, more = variant.partition("_")
    if variant not in VARIANTS:
        raise UserError(
            f"variant {variant!r} is not known; write --config=configs/paper/orderings.py:VARIANT "
            f"with one of {', '.join(VARIANTS)}"
        )
    config = common("orderings", "RFFR beside its controls, over units of photographs", variant)
    config.seeds = UNITS_WITHOUT_CLAIM if more or size == "smoke" else UNITS
    # Every unit has a MAE and data of its own.
    config.mae_seeds = ()
    config.shared = f"../orderings-{size}"
    # Results of units from other machines, folders with commas between.
    config.units = ""
    # The best weights by validation on what was trained on, beside the last.
    config.rules = ("last", "source")
    config.figures = ("curves",)
    config.at_once = 2
    photographs(config, "64" if size == "smoke" else size)
    if size == "smoke":
        drawn_faces(config)
    config.detect.selection = "source"
    config.rows = numbered(_further_rows() if more else _rows())
    if more:
        config.autoencoders.unet = ConfigDict({"autoencoder": "unet", "steps": 400})
        config.pretrain.unet = ConfigDict({"width": 8, "depth": 3})
        return config
    config.claims = numbered(
        {
            name: claim(f"{OURS} beats {label}", OURS, label)
            for name, label in (
                ("vit", "plain ViT"),
                ("blocks", "random-block ViT"),
                ("zero", "zero residual"),
                ("high_pass", "high-pass"),
            )
        }
    )
    return config


def _rows() -> dict[str, dict]:
    def started(label: str, **detector: str) -> dict:
        return row(label, "mae", detector={"init": "mae", **detector})

    ours = {"init": "mae", "inputs": "both", "residual": "mae"}
    return {
        "vit": started("plain ViT", inputs="original", blocks="full"),
        "blocks": started("random-block ViT", inputs="original"),
        "zero": started("zero residual", residual="zero"),
        "high_pass": started("high-pass", residual="high_pass"),
        "ours": row(OURS, "mae", detector=ours),
        "reference": reference_row("logistic regression", "mae", detector=ours),
    }


def _further_rows() -> dict[str, dict]:
    # Without an original branch there are no patches whose loss is taken.
    only = {"init": "mae", "inputs": "residual", "patch_loss": 0.0}
    return {
        "only": row("residual only", "mae", detector=only),
        "ridge": row("ridge residual", "mae", detector={"init": "mae", "residual": "ridge"}),
        "full": row("full blocks", "mae", detector={"init": "mae", "blocks": "full"}),
        "unet": row("UNet residual", "unet", detector={"init": "mae", "residual": "unet"}),
    }
