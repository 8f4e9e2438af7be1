"""Do detectors that are trained on self-blended images merely look for blended edges?

python -m rffr_jax.main --config=configs/paper/question.py:64

Today's best recipe trains only the layer norms and the head of a pretrained backbone. Its rows here
are that backbone alone, and beside a residual of zeros, of a high-pass filter, and of RFFR. All are
trained on self-blended images only. They are tested on manipulations, and on real faces under one
trace of manipulation each (docs/metrics.md), where nobody was replaced: who reacts to those as to
manipulations looks for the trace.

variant    backbone                          seeds   hours
64         the encoder of the unit's MAE     8       2 of 2 cores (one unit took 16 minutes), and 2
                                                     for the MAEs, which are those of orderings.py
published  weights/dinov2, by others         1       not known: nobody has run it
smoke      the encoder of the seed's MAE     2       minutes, on drawn faces; it shows that it runs

Another backbone: --config.detect.backbone.weights=weights/clip with a --workdir of its own. Add
--dry-run for the hours that are left, and --config.seeds="(0,1)" for some of the units of `64`.
"""

from ml_collections import ConfigDict

from configs.paper.base import base, claim, common, numbered, row
from configs.paper.units import drawn_faces, photographs
from rffr_jax.config import Config
from rffr_jax.errors import UserError

VARIANTS = ("64", "published", "smoke")
TITLE = "trained on self-blended images: do detectors merely look for blended edges?"
ALONE, ZERO, HIGH_PASS, OURS = (
    "backbone",
    "backbone + zero residual",
    "backbone + high-pass",
    "backbone + RFFR",
)
# Of data.self_blending.controls, by their columns.
CONTROLS = {
    f"real, {name.replace('_', ' ')}": name
    for name in ("identity_paste", "brightness_edge", "full_self_blend", "format")
}


def get_config(variant: str = "64") -> Config:
    if variant not in VARIANTS:
        raise UserError(
            f"variant {variant!r} is not known; write --config=configs/paper/question.py:VARIANT "
            f"with one of {', '.join(VARIANTS)}"
        )
    config = _published() if variant == "published" else _units(variant)
    config.rules = ("last",)
    config.figures = ("bars",)
    config.detect.detector.train = "norms"
    # A backbone has an embedding of its own, and no loss on patches.
    config.detect.detector.embedding = "linear"
    config.detect.detector.patch_loss = 0.0
    config.claims = numbered(
        {
            "alone": claim("RFFR adds to the backbone", OURS, ALONE),
            "zero": claim("RFFR adds more than a branch without information", OURS, ZERO),
            "high_pass": claim("RFFR adds more than a high-pass filter", OURS, HIGH_PASS),
            "paste": claim(
                "the backbone alone reacts more to an identity paste",
                *(ALONE, OURS),
                column="real, identity paste",
            ),
            "edge": claim(
                "the backbone alone reacts more to an edge of brightness",
                *(ALONE, OURS),
                column="real, brightness edge",
            ),
        }
    )
    return config


def _units(variant: str) -> Config:
    """Units of photographs, or of drawn faces; each has the encoder of its MAE as backbone.

    On unit 0's validation people the norms of this backbone learn at a rate of 5e-3, not at 5e-4.
    """
    config = common("question", TITLE, variant)
    config.seeds = tuple(range(8))
    config.mae_seeds = ()
    config.shared = f"../orderings-{variant}"
    # Results of units from other machines, folders with commas between.
    config.units = ""
    config.at_once = 2
    photographs(config, "64")
    reals = config.data.test[0].partition("&method=")[0]
    if variant == "smoke":
        drawn_faces(config)
        config.seeds, config.shared = (0, 1), "."
        reals = "synthetic:{seed}#test?limit=100"
    _add_controls(config, reals)
    config.trained_on = ConfigDict({"self-blended": config.trained_on.self_blended.to_dict()})
    config.detect.backbone.weights = "mae"
    config.detect.optimizer.backbone_learning_rate = 5e-3
    config.detect.backbone.image_size = config.detect.model.image_size
    # The residual branch starts from it, too.
    config.rows = numbered(_rows("mae", init="mae"))
    return config


def _published() -> Config:
    """The rates are the paper's for a ViT and GenD's (2025) for norms: not tried together."""
    config = base("question", TITLE, "faceforensics", ("faceforensics",))
    config.variant = "published"
    for name, records in (("Celeb-DF", "celeb_df"), ("DFDC", "dfdc")):
        config.columns[name] = ConfigDict({"test": (f"tfds:data/{records}#test",), "method": ""})
    _add_controls(config, config.data.test[0])
    blended = {"fakes": "self_blended", "methods": ()}
    config.trained_on = ConfigDict({"self-blended": {"data": blended}})
    config.detect.backbone.weights = "weights/dinov2"
    config.detect.optimizer.learning_rate = 2e-5
    config.detect.optimizer.backbone_learning_rate = 3e-4
    config.detect.optimizer.schedule = "cosine"
    config.detect.optimizer.warmup_steps = 500
    config.detect.evaluate_every = 500
    config.smoothing = 1
    config.rows = numbered(_rows("", init="weights/vit"))
    return config


def _rows(autoencoder: str, init: str) -> dict[str, dict]:
    """The rows; those without a residual of a MAE have `autoencoder` for their backbone only."""
    alone = {"init": "", "inputs": "original", "blocks": "full"}
    return {
        "alone": row(ALONE, autoencoder, detector=alone),
        "zero": row(ZERO, autoencoder, detector={"init": init, "residual": "zero"}),
        "high_pass": row(HIGH_PASS, autoencoder, detector={"init": init, "residual": "high_pass"}),
        "ours": row(OURS, "mae", detector={"init": init, "residual": "mae"}),
    }


def _add_controls(config: Config, reals: str):
    test = (f"{reals}&fakes=controls",)
    for label, control in CONTROLS.items():
        config.columns[label] = ConfigDict({"test": test, "method": control})
