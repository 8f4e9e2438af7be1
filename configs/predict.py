"""Scores your own photographs and videos, with a picture of the evidence for every face.

python -m rffr_jax.main --config=configs/predict.py --config.detector=runs/detect \
    --config.inputs=PHOTO.jpg,VIDEO.mp4,FOLDER --workdir=OUT
"""

from ml_collections import ConfigDict, config_dict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "predict"
    config.dtype = "auto"
    # A workdir of detect. '' takes the installed one, else that of `make demo`.
    config.detector = ""
    # Or best:NAME.
    config.checkpoint = "last"
    # Converted weights of the detector's backbone, where they lie elsewhere than in its training.
    config.backbone = ConfigDict({"weights": ""})
    # Files and folders, with commas between them.
    config.inputs = ""
    # Or given: every picture is an aligned crop already.
    config.faces = "find"
    # A prepared data set. Faces are cropped as its faces, where the detector records no crop.
    config.preparation = ""
    # The face detector's own file, where the training faces needed one.
    config.face_weights = ""
    # Evenly spaced.
    config.frames_per_video = 32
    # The largest faces of a file.
    config.most_faces = 8
    # How the scores of a face's frames become one. Or median, or top_k.
    config.aggregate = "mean"
    # The number of highest scores that top_k averages.
    config.top_k = 5
    # None takes the detector's own threshold, or 0.5 where it has none.
    config.threshold = config_dict.placeholder(float)
    # Faces of a lower mean brightness (0 to 255) are unknown. 0 judges all.
    config.darkest = 20.0
    # More blurred faces are unknown. 0 judges all.
    config.least_sharpness = 0.05
    # Writes every video again, with boxes and scores.
    config.annotate = True
    # K/N: this process looks at every N-th file, beginning with the K-th.
    config.part = ""
    # Faces that are scored together.
    config.batch_size = 32
    # The program writes here what was typed.
    config.command = ""

    config.data = ConfigDict()
    # Threads that read files and find faces ahead.
    config.data.workers = 2
    return config
