"""RFFR on photographs, for 64, 112 (the default) or 224 px: ours, not the paper's settings.

python -m rffr_jax.main --config=configs/recipes/detect.py:112

variant  model               images     time                      AUC on unseen people
64       mini, patch 8       192,000    0.1 h of 2 cores (a)      not measured
112      small, patch 14     288,000    26 min of one core (m)    83 over landmark fakes (m)
224      vit_s16, patch 16   768,000    0.1 h of an H100 (a)      not measured

(m) measured: docs/training_well.md; 112 is the detector in pretrained/. (a) arithmetic: 64 px at
the 970 images a second of such a model with kept residuals; 224 px from 1e16 matrix operations (30
h of 2 cores) at a tenth of the card's rate. The MAE is that of configs/recipes/pretrain.py with the
same variant, in runs/pretrain; another one: --config.mae=DIR. The data are the benchmark's unit 0.
"""

from ml_collections import ConfigDict

from configs import detect
from configs.recipes.sizes import BENCHMARKS, MODELS, check
from rffr_jax.config import Config


def get_config(size: str = "112") -> Config:
    check("detect", size)
    config = detect.get_config()
    config.data.train = (f"csv:{BENCHMARKS[size]}/unit0/train.csv",)
    config.data.validation = (f"csv:{BENCHMARKS[size]}/unit0/validation.csv",)
    config.data.pairs = True
    config.model = ConfigDict(MODELS[size])
    config.detector.init = config.get_ref("mae") + ""
    config.detector.embedding = "logdct"
    config.detector.patch_loss = 1.0
    if size != "224":
        # A quarter of the passes, for a CPU.
        config.blocks.blocks_per_pass = 4
    config.batch_size, config.steps = {"64": (32, 6000), "112": (32, 9000)}.get(size, (64, 12_000))
    config.optimizer.learning_rate = 1e-4 if size == "224" else 5e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.weight_decay = 0.05
    config.evaluate_every = 500
    return config
