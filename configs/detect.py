"""Training of the two-branch detector, with the paper's values (section 4.1).

python -m rffr_jax.main --config=configs/detect.py --config.mae=runs/pretrain \
    --config.data.train=folder:DATA --config.data.methods=Face2Face

Learning rate 2e-5, k = 4, p = 0.25, alpha = 4, no augmentation and 15k steps are the paper's; 16
real + 16 fake images a step and Adam's betas are the authors' released configuration.
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "detect"
    config.seed = 0
    config.dtype = "auto"
    config.mae = "runs/pretrain"  # a MAE, or the UNet of detector.residual=unet
    config.allow_other_k = False
    config.remat = False  # True: less memory, a third more arithmetic

    config.model = ConfigDict({"size": "vit_b16", "image_size": 224, "patch_size": 16})
    config.xception = ConfigDict({"width": 1.0, "middle_blocks": 8})  # of that backbone alone
    config.blocks = ConfigDict()
    config.blocks.k = 4
    config.blocks.alpha = 4.0
    config.blocks.blocks_per_pass = 1  # blocks hidden together; more is faster and approximate
    config.blocks.probability = 0.25
    config.blocks.on_empty = "redraw"
    config.blocks.group = 16  # images that share the quantiles of the number of blocks
    config.detector = ConfigDict()
    config.detector.init = ""  # a ViT or a MAE for both branches; the paper's is an ImageNet ViT
    config.detector.backbone = "vit"  # or xception, with inputs=original and blocks=full
    config.detector.inputs = "both"  # or original, residual
    config.detector.blocks = "random"  # or full, covered
    config.detector.residual = "mae"  # or unet, high_pass, zero
    config.detector.mean = (0.485, 0.456, 0.406)
    config.detector.std = (0.229, 0.224, 0.225)

    config.data = ConfigDict()
    config.data.train = ("synthetic:0#train",)
    config.data.validation = ("synthetic:0#validation",)
    config.data.methods = ()
    config.data.cache = False
    config.data.workers = 2
    config.data.max_bad_fraction = 0.01
    config.selection = "last"

    config.residuals = ConfigDict()
    config.residuals.folder = "../residuals"  # seen from the workdir; '' keeps none on disk
    config.residuals.memory_gb = 4.0  # of images and residuals; what is beyond is read from disk
    config.residuals.training = "auto"  # or always, never: see docs/residuals.md

    config.batch_size = 32
    config.micro_batches = 1  # parts of a batch that are worked through one after another
    config.steps = 15_000
    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 2e-5
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_steps = 0
    config.optimizer.weight_decay = 0.0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.ema_decay = 0.0  # 0.999, say, evaluates and keeps averaged weights

    config.evaluate_every = 50
    config.evaluation_batch_size = 32
    config.save_every = 1000
    config.log_every = 50
    config.mesh = ConfigDict({"fsdp": 1})
    return config
