"""Your own photographs and videos, scored, with the evidence for every face.

python -m rffr_jax.main --config=configs/predict.py --config.detector=runs/detect \
    --config.inputs=PHOTO.jpg,VIDEO.mp4,FOLDER --workdir=OUT
"""

from ml_collections import ConfigDict, config_dict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "predict"
    config.dtype = "auto"
    config.detector = ""  # a workdir of detect; '' takes the one that `make demo` trained
    config.checkpoint = "last"  # or best:NAME
    config.inputs = ""  # files and folders, with commas between
    config.faces = "find"  # or given: every picture is an aligned crop
    config.preparation = ""  # a prepared data set: its crops, where the detector records none
    config.face_weights = ""  # the face detector's own file, where the training faces needed one
    config.frames_per_video = 32  # evenly spaced
    config.most_faces = 8  # of a file, the largest
    config.aggregate = "mean"  # of a face's frames; or median, or top_k
    config.top_k = 5  # highest frames that top_k averages
    config.threshold = config_dict.placeholder(float)  # else the detector's own, else 0.5
    config.darkest = 20.0  # mean brightness of 255; darker faces are unknown, 0 takes all
    config.least_sharpness = 0.05  # more blurred faces are unknown, 0 takes all
    config.annotate = True  # videos once more, with boxes and scores
    config.part = ""  # K/N: this process looks at every N-th file, beginning with the K-th
    config.batch_size = 32  # faces scored together
    config.command = ""  # filled in: what was typed

    config.data = ConfigDict()
    config.data.workers = 2  # threads that read files and find faces ahead
    return config
