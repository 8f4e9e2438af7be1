"""Pretraining of the MAE on real faces, with the paper's values (section 4.1).

python -m rffr_jax.main --config=configs/pretrain.py --config.data.train=folder:FACES

The batch of 128 and the learning rate 7.5e-5 are the paper's. The paper does not give the number of
steps: the authors' released configuration sees 15 million images. Any batch size sees as many here,
and a tenth of the steps is warm-up. `autoencoder=unet` trains the UNet that the paper compares
with. It reconstructs whole images and does not read `blocks` and `mask`.
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config

IMAGES_SEEN = 15_000_000


def get_config() -> Config:
    config = ConfigDict()
    config.job = "pretrain"
    config.seed = 0
    config.dtype = "auto"
    # True takes less memory and a third more arithmetic.
    config.remat = False
    # A workdir or converted weights. The run's own checkpoint comes first.
    config.init_from = ""

    # Or unet.
    config.autoencoder = "mae"
    # Only for autoencoder=unet, which takes model.image_size too.
    config.unet = ConfigDict({"width": 64, "depth": 4})
    config.model = ConfigDict({"size": "vit_b16", "image_size": 224, "patch_size": 16})
    config.blocks = ConfigDict({"k": 4, "alpha": 4.0})
    config.mask = ConfigDict()
    config.mask.kind = "block"
    # Only for mask.kind=grid and block: blocks hidden together, for detectors with blocks_per_pass.
    config.mask.blocks = 1
    # Only for mask.kind=random: the share of hidden patches.
    config.mask.ratio = 0.75
    # Ours: "random:0.8" hides random patches in the first 80 % of the steps, then as mask.kind
    # says; "gridx4:0.5" hides 4 blocks of the grid together, and several parts go with commas.
    config.mask.schedule = ""

    config.data = ConfigDict()
    config.data.train = ("synthetic:0#train",)
    config.data.validation = ("synthetic:0#validation",)
    # Or True, False. Pixels in memory, made once and shared with the workers.
    config.data.cache = "auto"
    # Or a number of processes that read.
    config.data.workers = "auto"
    config.data.max_bad_fraction = 0.01
    # Ours, the paper has none: docs/training_well.md tells what helps where faces are few.
    config.data.augmentation = ConfigDict()
    # The largest share of the side that is cut off at random places.
    config.data.augmentation.crop = 0.0
    # Mirrors half of the images.
    config.data.augmentation.flip = False
    # 0.2 multiplies brightness by 1/1.2 to 1.2; gamma is the same for its exponent.
    config.data.augmentation.gain = 0.0
    config.data.augmentation.gamma = 0.0
    # Gives grey images the colours of colour images of the same data.
    config.data.augmentation.tint = False

    config.batch_size = 128
    # A batch is computed in this number of parts, one after another.
    config.micro_batches = 1
    config.steps = -(-IMAGES_SEEN // config.get_ref("batch_size"))
    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 7.5e-5
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = config.get_ref("steps") // 10
    config.optimizer.weight_decay = 0.05
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.95
    # 0.999, for example, evaluates and saves averaged weights.
    config.optimizer.ema_decay = 0.0

    config.evaluate_every = 5000
    config.save_minutes = 10.0
    # Steps; 0 saves by minutes only.
    config.save_every = 0
    config.log_every = 50
    # "10,20" traces steps 10 to 20 into WORKDIR/profile.
    config.profile = ""
    config.mesh = ConfigDict({"fsdp": 1})
    # A run for each value, such as blocks.alpha=2,4,8: see docs/runs.md.
    config.sweep = ""
    return config
