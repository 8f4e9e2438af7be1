"""Pretraining of the MAE on real faces, with the paper's values (section 4.1).

python -m rffr_jax.main --config=configs/pretrain.py --config.data.train=folder:FACES

Batch 128 and learning rate 7.5e-5 are the paper's; the number of steps is not in it: 15 million
images are what the authors' released configuration sees. Another batch size sees as many; a tenth
of the steps is warm-up, however many there are. `autoencoder=unet` trains the UNet that the paper
compares with, which reconstructs whole images: blocks and mask mean nothing to it.
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config

IMAGES_SEEN = 15_000_000


def get_config() -> Config:
    config = ConfigDict()
    config.job = "pretrain"
    config.seed = 0
    config.dtype = "auto"
    config.remat = False  # True: less memory, a third more arithmetic
    config.init_from = ""  # a workdir or converted weights; a run's own checkpoint goes first

    config.autoencoder = "mae"  # or unet
    config.unet = ConfigDict({"width": 64, "depth": 4})  # of `unet` alone, with model.image_size
    config.model = ConfigDict({"size": "vit_b16", "image_size": 224, "patch_size": 16})
    config.blocks = ConfigDict({"k": 4, "alpha": 4.0})
    config.mask = ConfigDict()
    config.mask.kind = "block"
    config.mask.blocks = (
        1  # of `grid` and `block`: hidden together, for detectors with blocks_per_pass
    )
    config.mask.ratio = 0.75  # of `random` alone

    config.data = ConfigDict()
    config.data.train = ("synthetic:0#train",)
    config.data.validation = ("synthetic:0#validation",)
    config.data.cache = False
    config.data.workers = 2
    config.data.max_bad_fraction = 0.01

    config.batch_size = 128
    config.micro_batches = 1  # parts of a batch that are worked through one after another
    config.steps = -(-IMAGES_SEEN // config.get_ref("batch_size"))
    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 7.5e-5
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = config.get_ref("steps") // 10
    config.optimizer.weight_decay = 0.05
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.95
    config.optimizer.ema_decay = 0.0  # 0.999, say, evaluates and keeps averaged weights

    config.evaluate_every = 5000
    config.save_every = 1000
    config.log_every = 50
    config.mesh = ConfigDict({"fsdp": 1})
    return config
