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
    # Or best:NAME.
    config.checkpoint = "last"
    # Converted weights of the detector's backbone, where they lie elsewhere than in its training.
    config.backbone = ConfigDict({"weights": ""})
    # 1 is the middle frame. 0 takes all.
    config.frames_per_video = 1
    config.batch_size = 32

    # Or frames: data.tests name photographs and videos (csv:FILE), whose faces are found, and whole
    # pictures are corrupted, too.
    config.on = "crops"
    # Of on=frames: the face detector's own file, where the training faces needed one.
    config.face_weights = ""
    # Applied to the image at the detector's size. () leaves one out.
    config.corruptions = ConfigDict()
    # Quality.
    config.corruptions.jpeg = (90, 75, 50, 30, 15)
    # Standard deviation in pixels.
    config.corruptions.blur = (0.5, 1.0, 2.0, 3.0)
    # Factor of the side; the image is enlarged again.
    config.corruptions.resize = (0.75, 0.5, 0.25)
    # Standard deviation, of 255.
    config.corruptions.noise = (2.0, 5.0, 10.0, 20.0)
    # A control: all images through one size and one JPEG of this quality.
    config.corruptions.format = (75,)

    config.data = ConfigDict()
    config.data.tests = ("synthetic:0#test",)
    # Only fakes of these methods. On the command line: A,B.
    config.data.methods = ()
    config.data.workers = 2
    config.data.max_bad_fraction = 0.01
    config.residuals = ConfigDict()
    # Residuals of corrupted images are never used again.
    config.residuals.folder = ""
    config.residuals.memory_gb = 0.0
    config.mesh = ConfigDict({"fsdp": 1})
    return config
