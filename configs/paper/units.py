"""Shared by experiments over units of photographs: data, models, what is trained on and tested.

Unit N is a split of the people of scripts/make_photograph_benchmark.py --unit N, with a MAE and a
seed of its own.
"""

from ml_collections import ConfigDict

from configs.paper.base import PROCEDURAL, SMALLEST, trained_on
from configs.recipes import detect, pretrain
from configs.recipes.sizes import BENCHMARKS
from rffr_jax.config import Config

METHODS = ("autoencoder_swap", "landmark_swap", "expression_transfer", "mouth_render")
# 64 px: on unit 0's validation people a plain ViT is best at 1,500 steps, and RFFR gains nothing
# from 3,000 on. On self-blended images RFFR still gains at 4,000.
STEPS = {"64": 3000, "112": 6000}
SELF_BLENDED_STEPS = {"64": 6000, "112": 12_000}
# Of an image of a training, and of a test; of such models on 2 cores, two runs at a time. Those of
# 64 px were measured in three units, those of 112 px are arithmetic.
EXPECTED_SECONDS = {
    "64": {"pretrain": 1 / 270, "detect": 1 / 550, "evaluate": 5.0, "energy_reference": 8.0},
    "112": {"pretrain": 1 / 115, "detect": 1 / 200, "evaluate": 40.0, "energy_reference": 60.0},
}


def photographs(config: Config, size: str):
    """The benchmark's data, the recipes' models of one size, and columns of all four methods."""
    folder = BENCHMARKS[size]
    unit = folder + "/unit{seed}"
    config.pretrain, config.detect = pretrain.get_config(size), detect.get_config(size)
    # Rows say what they start from.
    config.detect.detector.init = ""
    config.data.pretrain = tuple(config.pretrain.data.train)
    config.data.pretrain_validation = (f"csv:{unit}/validation.csv?dataset=youtube_faces",)
    config.data.train = (f"csv:{unit}/train.csv?dataset=youtube_faces",)
    few = "dataset=youtube_faces&group_limit={count}&method=" + "+".join(METHODS)
    config.data.validation = (f"csv:{unit}/validation.csv?{few.format(count=3)}",)
    config.data.test = (f"csv:{unit}/test.csv?{few.format(count=5)}",)
    config.trained_on = ConfigDict({method: trained_on(method) for method in METHODS})
    config.trained_on.self_blended = ConfigDict(
        _self_blended(config.data.train, SELF_BLENDED_STEPS[size], captures=8)
    )
    test = config.data.get_ref("test")
    config.columns = ConfigDict({name: {"test": test, "method": name} for name in METHODS})
    config.expected_seconds = ConfigDict(EXPECTED_SECONDS[size])
    config.detect.steps = STEPS[size]
    config.detect.residuals.training = "always"
    for job in (config.pretrain, config.detect):
        job.data.workers = "0"
        job.data.cache = "True"
    config.evaluate.data.workers = 0
    # All that are there.
    config.evaluate.frames_per_video = 0


def _self_blended(train: tuple[str, ...], steps: int, captures: int) -> dict:
    # Pairs anyway; captures come back, so that their residuals are kept.
    blended = {"fakes": "self_blended", "methods": (), "pairs": False, "captures": captures}
    return {"data": {**blended, "train": train}, "steps": steps}


def drawn_faces(config: Config):
    """Two units, one manipulation and self-blended images, at the smallest size."""
    config.at_once = 1
    config.data.pretrain = config.data.train = ("synthetic:{seed}#train?limit=80",)
    config.data.pretrain_validation = ("synthetic:{seed}#validation?limit=16",)
    config.data.validation = ("synthetic:{seed}#validation?limit=40",)
    config.data.test = ("synthetic:{seed}#test?limit=40",)
    methods = tuple(PROCEDURAL)[:2]
    config.trained_on = ConfigDict({methods[0]: trained_on(methods[0])})
    config.trained_on.self_blended = ConfigDict(_self_blended(config.data.train, 8, captures=1))
    test = config.data.get_ref("test")
    config.columns = ConfigDict({name: {"test": test, "method": name} for name in methods})
    config.rules = ("last",)
    config.pretrain.data.augmentation.tint = False
    # Files of drawn faces have no masks.
    config.detect.detector.patch_loss = 0.0
    for job in (config.pretrain, config.detect):
        job.model = ConfigDict(SMALLEST)
        job.batch_size, job.steps = 8, 8
        job.optimizer.warmup_steps = 1
    config.detect.blocks.group = 4
    config.detect.evaluate_every = 4
