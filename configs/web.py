"""A page and an HTTP API on which photographs and videos are scored; nothing is kept.

python -m rffr_jax.main --config=configs/web.py --config.detector=runs/detect
"""

from ml_collections import ConfigDict, config_dict

from rffr_jax.config import Config


def get_config() -> Config:
    config = ConfigDict()
    config.job = "web"
    config.host = "127.0.0.1"  # this machine only; another address opens it to a network
    config.port = 7860
    config.trusted_hosts = ()  # further names in the address bar, as behind a proxy
    config.most_megabytes = 200.0  # of an upload
    config.seconds_without_progress = 10.0  # then an upload that comes too slowly is refused
    config.seconds_per_file = 120.0  # then it is given up
    config.most_waiting = 20  # uploads beside the one that is scored, half of them of one sender

    config.dtype = "auto"
    config.detector = ""  # a workdir of detect; '' takes the one that `make demo` trained
    config.checkpoint = "last"  # or best:NAME
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
    config.annotate = False  # nothing is kept, videos with boxes neither
    config.batch_size = 8  # faces scored together
    config.command = ""  # filled in: what was typed

    config.data = ConfigDict()
    config.data.workers = 0  # threads that read ahead; an upload is one file
    return config
