"""Unseen AUC against what the MAE has seen: more images, or more people of one source.

python -m rffr_jax.main --config=configs/paper/scaling.py:64

Fig. 1 and Table 3 of the paper, on photographs: four MAEs that saw 1/8 to all of the recipe's
images, and four that saw all of them of 687 to 5,290 people of the portraits. RFFR with each is
trained on one manipulation and tested on four, in the units of configs/paper/orderings.py.

variant   units  hours of 2 cores
64        2      2; two units took about one each
112       2      13, by arithmetic
smoke     2      minutes, on drawn faces; it only shows that it runs

Add --dry-run for the hours that are left, and --config.seeds="(0,1,2,3,4)" for more units.
"""

from ml_collections import ConfigDict

from configs.paper.base import claim, common, numbered, row
from configs.paper.units import drawn_faces, photographs
from rffr_jax.config import Config
from rffr_jax.errors import UserError

VARIANTS = ("64", "112", "smoke")
# Of the steps of the recipe.
SHARES = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "all": 1.0}
# People of the portraits -> the first so many of the 10,418 images, which lie by person.
PEOPLE = {687: 1302, 1462: 2605, 2651: 5209, 5290: 10_418}


def get_config(variant: str = "64") -> Config:
    if variant not in VARIANTS:
        raise UserError(
            f"variant {variant!r} is not known; write --config=configs/paper/scaling.py:VARIANT "
            f"with one of {', '.join(VARIANTS)}"
        )
    config = common("scaling", "what the MAE has seen", variant)
    config.seeds = (0, 1)
    config.mae_seeds = ()
    config.shared = "."
    config.units = ""
    config.rules = ("last",)
    config.figures = ("bars",)
    config.at_once = 2
    photographs(config, "64" if variant == "smoke" else variant)
    portraits = config.data.pretrain[0].partition("?")[0] + "?dataset=portraits&limit={limit}"
    if variant == "smoke":
        drawn_faces(config)
        config.pretrain.steps = 40
        portraits = "synthetic:1#train?limit={limit}"
    first = next(iter(config.trained_on))
    config.trained_on = ConfigDict({first: config.trained_on[first]})
    steps, rows = config.pretrain.steps, {}
    autoencoders = {}
    for name, share in SHARES.items():
        key = f"images_{name.replace('/', '_')}"
        autoencoders[key] = {"steps": int(share * steps)}
        images = autoencoders[key]["steps"] * config.pretrain.batch_size
        rows[key] = row(f"MAE of {images:,} images", key, detector={"init": key})
    for people, limit in PEOPLE.items():
        key, limit = f"people_{people}", limit // 100 if variant == "smoke" else limit
        # Most portraits are grey, and too few of the first ones have colours to give away.
        data = {"train": (portraits.format(limit=limit),), "augmentation": {"tint": False}}
        autoencoders[key] = {"data": data}
        rows[key] = row(f"MAE of {people:,} people", key, detector={"init": key})
    config.autoencoders = ConfigDict(autoencoders)
    config.rows = numbered(rows)
    labels = [entry["label"] for entry in rows.values()]
    config.claims = numbered(
        {
            "images": claim("eight times the images help", labels[3], labels[0]),
            "people": claim("seven times the people help", labels[7], labels[4]),
        }
    )
    config.galleries = tuple(autoencoders)
    return config
