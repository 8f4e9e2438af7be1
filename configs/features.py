"""Features of a trained detector: class tokens (for t-SNE, for example) and attention maps.

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
    # Or best:NAME.
    config.checkpoint = "last"
    # Converted weights of the detector's backbone, where they lie elsewhere than in its training.
    config.backbone = ConfigDict({"weights": ""})
    config.batch_size = 32

    config.data = ConfigDict()
    config.data.inputs = ("synthetic:0#test",)
    config.data.workers = 2
    config.data.max_bad_fraction = 0.01
    config.residuals = ConfigDict()
    # Relative to the detector's workdir. '' keeps no residuals on disk.
    config.residuals.folder = "../residuals"
    # For residuals. The rest is read from disk.
    config.residuals.memory_gb = 4.0
    config.mesh = ConfigDict({"fsdp": 1})
    return config
