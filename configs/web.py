"""A page and an HTTP API on which photographs and videos are scored; nothing is kept.

python -m rffr_jax.main --config=configs/web.py --config.detector=runs/detect
"""

from ml_collections import ConfigDict, config_dict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "web"
    # This machine only. Another address opens the page to a network.
    config.host = "127.0.0.1"
    config.port = 7860
    # Further names that a browser may use for this server, as behind a proxy.
    config.trusted_hosts = ()
    # The largest upload.
    config.most_megabytes = 200.0
    # An upload that stands still for longer is refused.
    config.seconds_without_progress = 10.0
    # A file that takes longer to score is given up.
    config.seconds_per_file = 120.0
    # For the uploads that are there when the server is told to stop.
    config.seconds_to_stop = 60.0
    # Processes that score beside each other, each with the whole detector in memory.
    config.scorers = 1
    # Uploads in the queue. One sender may have half of them.
    config.most_waiting = 20

    config.dtype = "auto"
    # A workdir of detect. '' takes the installed one, else that of `make demo`.
    config.detector = ""
    # Or best:NAME.
    config.checkpoint = "last"
    # Converted weights of the detector's backbone, where they lie elsewhere than in its training.
    config.backbone = ConfigDict({"weights": ""})
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
    # The server keeps nothing, so it writes no videos either.
    config.annotate = False
    # Faces that are scored together.
    config.batch_size = 8
    # The program writes here what was typed.
    config.command = ""

    config.data = ConfigDict()
    # Threads that read ahead. An upload is one file.
    config.data.workers = 0
    return config
