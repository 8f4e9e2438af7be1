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
    config.mae = "runs/pretrain"  # a MAE or a UNet
    config.blocks = ConfigDict()
    config.blocks.k = 0  # that of the MAE's pretraining
    config.blocks.alpha = 4.0
    config.blocks.blocks_per_pass = 1  # blocks hidden together; more is faster and approximate
    config.batch_size = 32

    config.data = ConfigDict()
    config.data.inputs = ("synthetic:0#test?limit=16",)
    config.data.workers = 0
    config.data.max_bad_fraction = 0.01
    config.mesh = ConfigDict({"fsdp": 1})
    return config
