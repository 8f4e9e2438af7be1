"""What a trained detector makes of images: class tokens (for t-SNE, say) and attention maps.

python -m rffr_jax.main --config=configs/features.py --config.detector=runs/detect \
    --config.data.inputs=folder:IMAGES
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "features"
    config.dtype = "auto"
    config.detector = "runs/detect"
    config.checkpoint = "last"  # or best:NAME
    config.batch_size = 32

    config.data = ConfigDict()
    config.data.inputs = ("synthetic:0#test",)
    config.data.workers = 2
    config.data.max_bad_fraction = 0.01
    config.residuals = ConfigDict()
    config.residuals.folder = "../residuals"  # seen from the detector's; '' keeps none on disk
    config.residuals.memory_gb = 4.0  # of residuals; what is beyond is read from disk
    config.mesh = ConfigDict({"fsdp": 1})
    return config
