"""Residual images of any images: arrays and a picture.

python -m rffr_jax.main --config=configs/residual.py --config.mae=runs/pretrain \
    --config.data.inputs=folder:IMAGES
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "residual"
    config.dtype = "auto"
    # A MAE, a UNet, or a model folder of a detector with one.
    config.mae = "runs/pretrain"
    config.blocks = ConfigDict()
    # 0 takes the k of the MAE's pretraining.
    config.blocks.k = 0
    config.blocks.alpha = 4.0
    # Blocks that are hidden together. More is faster and approximate.
    config.blocks.blocks_per_pass = 1
    config.batch_size = 32

    config.data = ConfigDict()
    config.data.inputs = ("synthetic:0#test?limit=16",)
    config.data.workers = 0
    config.data.max_bad_fraction = 0.01
    config.mesh = ConfigDict({"fsdp": 1})
    return config
