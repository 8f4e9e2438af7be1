"""RFFR beside its controls on procedural faces: no download, a few minutes on two CPU cores.

python -m rffr_jax.main --config=configs/quickstart.py

On own data, with fakes of `trained_method` in the training part:

python -m rffr_jax.main --config=configs/quickstart.py --config.data.train=csv:DIR/train.csv \
    --config.data.validation=csv:DIR/validation.csv --config.data.test=csv:DIR/test.csv
"""

from ml_collections import ConfigDict

from configs import detect, evaluate, pretrain
from rffr_jax.config import Config

MODEL = {"size": "mini", "image_size": 64, "patch_size": 8}


def get_config() -> Config:
    config = ConfigDict()
    config.job = "quickstart"
    config.seeds = (0,)
    config.trained_method = "lowres_swap"
    config.data = ConfigDict()
    config.data.train = ("synthetic:{seed}#train?method=lowres_swap",)
    config.data.validation = ("synthetic:{seed}#validation?limit=64",)
    config.data.test = ("synthetic:{seed}#test",)

    config.pretrain = pretrain.get_config()
    config.pretrain.model = ConfigDict(MODEL)
    config.pretrain.batch_size = 16  # many small steps: a few big ones end at the mean face
    config.pretrain.steps = 1200
    config.pretrain.optimizer.learning_rate = 2e-3

    config.detect = detect.get_config()
    config.detect.model = ConfigDict(MODEL)
    config.detect.steps = 300
    config.detect.optimizer.learning_rate = 1e-3
    config.detect.optimizer.schedule = "cosine"
    config.detect.optimizer.warmup_steps = 30
    config.detect.residuals.training = "never"  # as the numbers in docs/ were made

    for job in (config.pretrain, config.detect):
        job.data.workers = 0
        job.data.cache = True
        job.evaluate_every = job.save_every = 10_000  # at the end alone
        job.log_every = 50

    config.evaluate = evaluate.get_config()
    config.evaluate.data.workers = 0
    return config
