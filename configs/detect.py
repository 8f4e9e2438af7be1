"""Training of the two-branch detector, with the paper's values (section 4.1).

python -m rffr_jax.main --config=configs/detect.py --config.mae=runs/pretrain \
    --config.data.train=folder:DATA --config.data.methods=Face2Face

python -m rffr_jax.main --config=configs/detect.py:xception --config.detector.init=weights/xception

Learning rate 2e-5, k = 4, p = 0.25, alpha = 4, no augmentation and 15k steps are the paper's; 16
real + 16 fake images a step and Adam's betas are the authors' released configuration.
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config(rival: str = "") -> Config:
    """The method, or a detector of another paper by its name (docs/rivals.md)."""
    config = ConfigDict()
    config.job = "detect"
    config.seed = 0
    config.dtype = "auto"
    # A MAE, or the UNet for detector.residual=unet.
    config.mae = "runs/pretrain"
    config.allow_other_k = False
    # A detector to train further, with its MAE and settings: box, a workdir or a model folder
    # (docs/fine_tuning.md).
    config.init_from = ""
    # True takes less memory and a third more arithmetic.
    config.remat = False

    config.model = ConfigDict({"size": "vit_b16", "image_size": 224, "patch_size": 16})
    # Of another paper's detector (docs/rivals.md).
    config.rival = ConfigDict()
    config.blocks = ConfigDict()
    config.blocks.k = 4
    config.blocks.alpha = 4.0
    # Blocks that are hidden together. More is faster and approximate.
    config.blocks.blocks_per_pass = 1
    config.blocks.probability = 0.25
    config.blocks.on_empty = "redraw"
    # Images that share the quantiles of the number of blocks.
    config.blocks.group = 16
    config.detector = ConfigDict()
    # A ViT or a MAE for both branches, or a rival's backbone. The paper takes an ImageNet ViT.
    config.detector.init = ""
    # Or a rival, with inputs=original and blocks=full; the variant :NAME sets all of it.
    config.detector.backbone = "vit"
    # Or original, residual.
    config.detector.inputs = "both"
    # Or full, covered.
    config.detector.blocks = "random"
    # Or unet, ridge, high_pass, zero.
    config.detector.residual = "mae"
    # Or conv, logdct, conv+logdct: ours, not the paper's (docs/training_well.md).
    config.detector.embedding = "linear"
    # Weight of a loss on patches, from masks of the manipulations: ours. 0 is without it.
    config.detector.patch_loss = 0.0
    # Or norms, head: the rest of a backbone stays as it is.
    config.detector.train = "all"
    config.detector.mean = (0.485, 0.456, 0.406)
    config.detector.std = (0.229, 0.224, 0.225)
    # Converted weights of DINOv2, CLIP, a ViT or a MAE, which read whole images as branch original
    # (docs/backbones.md).
    config.backbone = ConfigDict({"weights": "", "image_size": 224})
    # Of training images, with detector.train=head. Or always, never: see docs/backbones.md.
    config.backbone.keep_features = "auto"

    config.data = ConfigDict()
    config.data.train = ("synthetic:0#train",)
    config.data.validation = ("synthetic:0#validation",)
    config.data.methods = ()
    # Or self_blended: fakes are made on the fly from the training reals only.
    config.data.fakes = "given"
    # Flip, cut, colours and JPEG of self-blended pairs: see docs/self_blending.md.
    config.data.post_augmentation = True
    # Self-blended fakes are full ones, ratio 1, in this first share of the steps: ours.
    config.data.full_blends = 0.0
    # Each given fake beside the real that it was made of: ours, not the paper's.
    config.data.pairs = False
    # Of given images, as in configs/pretrain.py. The paper has none.
    config.data.augmentation = ConfigDict({"crop": 0.0, "flip": False, "gain": 0.0, "gamma": 0.0})
    # So many captures of each changed image come back. 0 makes new ones at every step.
    config.data.captures = 0
    # Or True, False. Pixels in memory, made once and shared with the workers.
    config.data.cache = "auto"
    # Or a number of processes that read.
    config.data.workers = "auto"
    config.data.max_bad_fraction = 0.01
    config.selection = "last"

    config.residuals = ConfigDict()
    # Relative to the workdir. '' keeps no residuals on disk.
    config.residuals.folder = "../residuals"
    # For images and residuals. The rest is read from disk.
    config.residuals.memory_gb = 4.0
    # Or always, never: see docs/residuals.md.
    config.residuals.training = "auto"

    config.batch_size = 32
    # A batch is computed in this number of parts, one after another.
    config.micro_batches = 1
    config.steps = 15_000
    config.optimizer = ConfigDict()
    # Or adam, whose decay is added to the gradient; or sgd, with momentum b1.
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-5
    # Of what is trained of a pretrained backbone, on the same schedule; 0 is learning_rate.
    config.optimizer.backbone_learning_rate = 0.0
    # Or cosine, last_quarter: constant, and a line down to 0 in the last quarter.
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_steps = 0
    # The rate is halved whenever so many steps are done; 0 never does it.
    config.optimizer.halve_every = 0
    config.optimizer.weight_decay = 0.0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    # 0.05, for example, is sharpness-aware minimisation (SAM), which takes two passes a step.
    config.optimizer.sam_rho = 0.0
    # 0.999, for example, evaluates and saves averaged weights.
    config.optimizer.ema_decay = 0.0

    config.evaluate_every = 50
    config.evaluation_batch_size = 32
    config.save_minutes = 10.0
    # Steps; 0 saves by minutes only.
    config.save_every = 0
    config.log_every = 50
    # "10,20" traces steps 10 to 20 into WORKDIR/profile.
    config.profile = ""
    config.mesh = ConfigDict({"fsdp": 1})
    # A run for each value, such as blocks.alpha=2,4,8: see docs/runs.md.
    config.sweep = ""
    if rival:
        from rffr_jax.rivals import rival_config

        config.update(rival_config(rival))
    return config
