"""AUC of a trained detector on images that were compressed, blurred, resized or made noisy.

python -m rffr_jax.main --config=configs/robustness.py --config.detector=runs/detect \
    --config.data.tests=folder:TEST
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "robustness"
    config.dtype = "auto"
    config.detector = "runs/detect"
    config.checkpoint = "last"  # or best:NAME
    config.frames_per_video = 1  # the middle one; 0 takes all
    config.batch_size = 32

    config.corruptions = ConfigDict()  # done to the image at the detector's size; () leaves one out
    config.corruptions.jpeg = (90, 75, 50, 30, 15)  # quality
    config.corruptions.blur = (0.5, 1.0, 2.0, 3.0)  # standard deviation, pixels
    config.corruptions.resize = (0.75, 0.5, 0.25)  # of the side, and back
    config.corruptions.noise = (2.0, 5.0, 10.0, 20.0)  # standard deviation, of 255

    config.data = ConfigDict()
    config.data.tests = ("synthetic:0#test",)
    config.data.methods = ()  # fakes of these alone; on the command line A,B
    config.data.workers = 2
    config.data.max_bad_fraction = 0.01
    config.residuals = ConfigDict()
    config.residuals.folder = ""  # nobody needs the residuals of corrupted images again
    config.residuals.memory_gb = 0.0
    config.mesh = ConfigDict({"fsdp": 1})
    return config
