"""RFFR beside its controls on procedural faces: no download, a few minutes on two CPU cores.

python -m rffr_jax.main --config=configs/quickstart.py

Every seed has its own faces, MAE and detectors. The controls separate what the residual adds from
what capacity, random blocks or the MAE's weights add. On your own data, with fakes of
`trained_method` in the training part:

python -m rffr_jax.main --config=configs/quickstart.py --config.data.train=csv:DIR/train.csv \
    --config.data.validation=csv:DIR/validation.csv --config.data.test=csv:DIR/test.csv
"""

from ml_collections import ConfigDict

from configs.paper.base import (
    SMALL,
    SMALL_SCHEDULE,
    WHOLE_IMAGES,
    claim,
    common,
    numbered,
    reference_row,
    row,
)
from rffr_jax.config import Config

OURS = "RFFR"
BLOCKS_ONLY = {"inputs": "original", "blocks": "random"}
BOTH = {"inputs": "both", "blocks": "random"}


def get_config() -> Config:
    config = common("quickstart", "RFFR beside its controls")
    config.seeds = (0,)
    # Every seed has a MAE and data of its own.
    config.mae_seeds = ()
    config.shared = "."
    config.rules = ("last",)
    config.trained_method = "lowres_swap"
    # Empty: every manipulation of the test.
    config.columns = ConfigDict()
    config.data.train = ("synthetic:{seed}#train?method=lowres_swap",)
    config.data.validation = ("synthetic:{seed}#validation?limit=64",)
    config.data.test = ("synthetic:{seed}#test",)
    config.data.pretrain = config.data.get_ref("train")
    config.data.pretrain_validation = config.data.get_ref("validation")

    config.rows = numbered(
        {
            "vit": row("plain ViT", detector=WHOLE_IMAGES),
            "blocks": row("random-block ViT", detector=BLOCKS_ONLY),
            "zero": row("zero residual", detector={**BOTH, "residual": "zero"}),
            "high_pass": row("high-pass", detector={**BOTH, "residual": "high_pass"}),
            "weights": row("ViT from the MAE", "mae", detector={**BLOCKS_ONLY, "init": "mae"}),
            "ours": row(OURS, "mae", detector=BOTH),
            "residual": {
                **row("mean |residual|", "mae", detector=BOTH),
                "evaluation": "mean_residual",
            },
            "reference": reference_row("logistic regression", "mae", detector=BOTH),
        }
    )
    config.claims = numbered(
        {
            name: claim(f"{OURS} beats the {control}", OURS, control)
            for name, control in (
                ("vit", "plain ViT"),
                ("blocks", "random-block ViT"),
                ("zero", "zero residual"),
                ("high_pass", "high-pass"),
                ("weights", "ViT from the MAE"),
                ("residual", "mean |residual|"),
            )
        }
    )

    config.pretrain.model = ConfigDict(SMALL)
    # Many small steps: a few large ones end at the mean face.
    config.pretrain.batch_size = 16
    config.pretrain.steps = 3600
    config.pretrain.optimizer.learning_rate = 2e-3
    config.pretrain.mask.kind = "grid"
    config.pretrain.mask.schedule = SMALL_SCHEDULE

    config.detect.model = ConfigDict(SMALL)
    config.detect.selection = "last"
    # From pixels alone a detector takes a thousand steps to learn anything; every row gets these.
    config.detect.detector.embedding = "logdct"
    config.detect.steps = 400
    config.detect.optimizer.learning_rate = 1e-3
    config.detect.optimizer.schedule = "cosine"
    config.detect.optimizer.warmup_steps = 40

    for job in (config.pretrain, config.detect):
        # Only at the end.
        job.evaluate_every = 10_000
        job.log_every = 50
    config.evaluate.data.workers = 0
    config.evaluate.frames_per_video = 0
    return config
