"""The detector in the box, trained further on your own faces: docs/fine_tuning.md.

python -m rffr_jax.main --config=configs/recipes/fine_tune.py --config.data.train=folder:MINE \
    --config.data.validation=folder:OTHERS

16,000 images: 75 seconds of one core (arithmetic: 213 images a second, as the box's training had),
and the time that their residuals take. The example in docs/fine_tuning.md went from 73.7 to
85.5 AUC.
"""

from configs import detect
from rffr_jax.config import Config


def get_config() -> Config:
    config = detect.get_config()
    # Its settings and its MAE come with it.
    config.init_from = "box"
    # Yours; drawn faces teach it nothing.
    config.data.train = ()
    # Yours, of other people; without any, nothing is measured.
    config.data.validation = ()
    config.steps = 500
    # A fifth of the rate that it was trained with.
    config.optimizer.learning_rate = 1e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 50
    config.evaluate_every = 100
    return config
