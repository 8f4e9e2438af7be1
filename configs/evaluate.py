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
    # Or best:NAME, or matched.
    config.checkpoint = "last"
    # Converted weights of the detector's backbone, where they lie elsewhere than in its training.
    config.backbone = ConfigDict({"weights": ""})
    # 1 is the middle frame. 0 takes all.
    config.frames_per_video = 1
    # The false positive rate of the thresholds that data.validation chooses.
    config.max_fpr = 0.01
    # True keeps it in every data set of data.validation: the worst one decides.
    config.worst_source = False
    # Frames of a video for the threshold of videos. 0 takes all, 1 chooses none.
    config.validation_frames = 32
    # How the scores of those frames become one. Or median, or top_k.
    config.aggregate = "mean"
    # The number of highest scores that top_k averages.
    config.top_k = 5
    # Or isotonic, none. It is fitted on data.validation.
    config.calibration = "platt"
    # The share of fakes for which the positive predictive value is stated.
    config.prevalence = 0.01
    config.batch_size = 32

    config.data = ConfigDict()
    config.data.tests = ("synthetic:0#test",)
    # Chooses thresholds and calibrations. It must never hold data of the tests.
    config.data.validation = ()
    # Only fakes of these methods. On the command line: A,B.
    config.data.methods = ()
    config.data.workers = 2
    config.data.max_bad_fraction = 0.01
    config.residuals = ConfigDict()
    # Relative to the detector's workdir. '' keeps no residuals on disk.
    config.residuals.folder = "../residuals"
    # For images and residuals. The rest is read from disk.
    config.residuals.memory_gb = 4.0
    config.mesh = ConfigDict({"fsdp": 1})
    return config
