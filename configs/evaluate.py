"""AUC of a trained detector on test sets, one frame a video as in the paper (section 4.1).

python -m rffr_jax.main --config=configs/evaluate.py --config.detector=runs/detect \
    --config.data.tests=folder:TEST
"""

from ml_collections import ConfigDict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "evaluate"
    config.dtype = "auto"
    config.detector = "runs/detect"
    config.checkpoint = "last"  # or best:NAME, or matched
    config.frames_per_video = 1  # the middle one; 0 takes all
    config.max_fpr = 0.01  # of the thresholds that data.validation chooses
    config.validation_frames = 32  # of a video, for the threshold of videos; 0 all, 1 no threshold
    config.aggregate = "mean"  # of those frames; or median, or top_k
    config.top_k = 5  # highest frames that top_k averages
    config.calibration = "platt"  # or isotonic; fitted on data.validation
    config.prevalence = 0.01  # share of fakes for which PPV is stated
    config.batch_size = 32

    config.data = ConfigDict()
    config.data.tests = ("synthetic:0#test",)
    config.data.validation = ()  # chooses thresholds and calibrations; never data of the tests
    config.data.methods = ()  # fakes of these alone; on the command line A,B
    config.data.workers = 2
    config.data.max_bad_fraction = 0.01
    config.residuals = ConfigDict()
    config.residuals.folder = "../residuals"  # seen from the detector's; '' keeps none on disk
    config.residuals.memory_gb = 4.0  # of images and residuals; what is beyond is read from disk
    config.mesh = ConfigDict({"fsdp": 1})
    return config
