"""What a trained detector reacts to: its scores of real faces with one trace of manipulation.

python -m rffr_jax.main --config=configs/controls.py --config.detectors=runs/detect \
    --config.data.reals=csv:TEST.csv
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "controls"
    config.dtype = "auto"
    # DIR or NAME=DIR, several with commas between. Trainings under one name, such as several
    # seeds, are one row of the table.
    config.detectors = "runs/detect"
    # Or best:NAME, of every detector.
    config.checkpoint = "last"
    # Converted weights of the detectors' backbone, where they lie elsewhere than in the training.
    # DIR for all, or NAME=DIR for the rows of `detectors`, with commas between.
    config.backbone = ConfigDict({"weights": ""})
    # 1 is the middle frame. 0 takes all.
    config.frames_per_video = 1
    # Of what is random in the controls.
    config.seed = 0
    config.batch_size = 32

    config.data = ConfigDict()
    # Real faces with landmarks. Fakes among them are left out.
    config.data.reals = ("synthetic:0#test",)
    config.data.workers = 2
    config.data.max_bad_fraction = 0.01
    config.residuals = ConfigDict()
    # Residuals of controls are never used again.
    config.residuals.folder = ""
    config.residuals.memory_gb = 0.0
    config.mesh = ConfigDict({"fsdp": 1})
    return config
