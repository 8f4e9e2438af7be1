"""Shared by all tables of the paper: data, models and steps of every variant, seeds and folders.

synthetic       procedural faces, minutes on a CPU; its numbers say nothing about real deepfakes
smoke           the same at the smallest size: it only shows that everything runs
photographs     real photographs with manipulations made by this program:
                scripts/make_manipulations.py --input FACES --output data/photographs --size 64
faceforensics   the paper's data, prepared by scripts/prepare_faces.py, and its training
"""

from collections.abc import Collection

from ml_collections import ConfigDict

from configs import detect, evaluate, pretrain, residual
from rffr_jax.config import Config
from rffr_jax.errors import UserError

VARIANTS = ("synthetic", "smoke", "photographs", "faceforensics")
FACEFORENSICS = {
    "DF": "Deepfakes",
    "F2F": "Face2Face",
    "FSW": "FaceSwap",
    "NT": "NeuralTextures",
}
PROCEDURAL = {
    name: name for name in ("lowres_swap", "mouth_warp", "polygon_paste", "texture_upsample")
}
PROCEDURAL_MASKS = {
    "synthetic": ("synthetic:11#test",),
    "smoke": ("synthetic:1#test?limit=40",),
}
SMALL = {"size": "mini", "image_size": 64, "patch_size": 8}
# Blocks hidden together teach more in a step; one at a time, as detectors read them, last.
SMALL_SCHEDULE = "gridx8:0.7"
SMALLEST = {"size": "tiny", "image_size": 48, "patch_size": 6}
WHOLE_IMAGES = {"inputs": "original", "blocks": "full"}
# Small convolutional rivals need a third of a ViT's steps. On a CPU each takes many times as long.
SMALL_RIVALS = {
    "xception": {
        "rival": {"width": 0.125, "middle_blocks": 1},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 20},
        "steps": 200,
        "evaluate_every": 20,
    },
    "recce": {
        "rival": {"width": 0.125, "middle_blocks": 1},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 20},
        "steps": 200,
        "evaluate_every": 20,
    },
    "sbi": {
        "rival": {"width": 0.25, "depth": 0.3},
        "optimizer": {"learning_rate": 0.05, "warmup_steps": 20},
        "steps": 400,
        "evaluate_every": 40,
    },
    "uia_vit": {
        "rival": {"size": "mini", "patch_size": 8},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 60},
    },
}
SMALLEST_RIVALS = {
    "xception": {"rival": {"width": 0.0625, "middle_blocks": 1}},
    "recce": {"rival": {"width": 0.0625, "middle_blocks": 1}},
    "sbi": {"rival": {"width": 0.05, "depth": 0.3}},
    "uia_vit": {"rival": {"size": "tiny", "patch_size": 6}},
}
# A UNet soon learns to copy.
UNET_STEPS = {"synthetic": 400, "smoke": 4, "photographs": 400}


def base(name: str, title: str, variant: str, variants: Collection[str] = VARIANTS) -> Config:
    """A table with the paper's method as its only row, trained on one kind of fakes.

    Args:
      name: of the table, such as "table5".
      title: what it compares.
      variant: one of `variants`.
      variants: those that the table has.

    Raises:
      UserError: no such variant.
    """
    if variant not in variants:
        raise UserError(
            f"variant {variant!r} is not known; write --config=configs/paper/{name}.py:VARIANT "
            f"with one of {', '.join(variants)}"
        )
    config = common(name, title, variant)
    config.data = _data(variant)
    config.rows = numbered({"ours": row("Ours", "mae")})
    methods = manipulations(variant)
    label = trained_label(variant)
    config.trained_on = ConfigDict({label: trained_on(methods[label])})
    test = config.data.get_ref("test")
    config.columns = ConfigDict(
        {name: {"test": test, "method": method} for name, method in methods.items()}
    )
    {
        "synthetic": _small,
        "smoke": _smallest,
        "photographs": _small,
        "faceforensics": _as_published,
    }[variant](config)
    return config


def common(name: str, title: str, variant: str = "") -> Config:
    """The entries that every experiment has, mostly empty, and the configs of its jobs."""
    config = ConfigDict()
    config.job = "experiment"
    config.name, config.title, config.variant = name, title, variant
    # Seeds of the detectors.
    config.seeds = (1,)
    # Seeds of the MAEs. Every detector is trained on each of these MAEs.
    config.mae_seeds = (1,)
    # Trainings that run at the same time. Each takes one GPU while there are free ones.
    config.at_once = 1
    # Trainings and drawn data that all tables share, relative to the workdir.
    config.shared = ".."
    # Or source, transfer.
    config.rules = ("oracle", "last")
    config.time_inference = False
    # Or bars, curves.
    config.figures = ()
    # An odd number of evaluations: a curve shows their running mean.
    config.smoothing = 1
    # Autoencoders whose residuals are drawn.
    config.galleries = ("mae",)
    # True measures whether residuals are strong where fakes were manipulated.
    config.localise = False
    # The program writes here what was typed.
    config.command = ""
    # Rows of other toolkits: LABEL=external:FILE, with commas between them.
    config.external = ""
    config.claims = ConfigDict()

    config.pretrain = pretrain.get_config()
    config.detect = detect.get_config()
    # Keeps the best weights of every validation curve.
    config.detect.selection = "oracle"
    config.evaluate = evaluate.get_config()
    config.residual = residual.get_config()
    config.data = ConfigDict({"chosen_on": (), "masks": ()})
    config.autoencoders = ConfigDict({"mae": {}})
    config.trained_on = ConfigDict()
    return config


def unet(variant: str) -> dict:
    """The autoencoder that the paper compares with, an entry of `autoencoders`."""
    steps = {"steps": UNET_STEPS[variant]} if variant in UNET_STEPS else {}
    return {"autoencoder": "unet", **steps}


def rival(name: str, variant: str) -> dict:
    """The changes in `detect` for a detector of another paper.

    It starts from ImageNet where the others do. A small one has the table's image size and batch.
    """
    # JAX is loaded only for tables with rivals.
    from rffr_jax.rivals import find_rival, rival_config

    published = rival_config(name)
    if variant == "faceforensics":
        init = f"weights/{find_rival(name).Detector.starts_from}"
        return published | {"detector": published["detector"] | {"init": init}}
    small = (SMALLEST_RIVALS if variant == "smoke" else SMALL_RIVALS)[name]
    return {
        **small,
        "detector": published["detector"],
        "data": published.get("data", {}),
        "optimizer": published["optimizer"] | small.get("optimizer", {}),
        "mae": "",
        # It has none, and its augmented images refuse `always`.
        "residuals": {"training": "never"},
    }


def row(label: str, autoencoder: str = "", **detect: dict) -> dict:
    """A row of a table.

    Args:
      label: as it is printed.
      autoencoder: name of an entry of `autoencoders`; '' for a detector without one.
      detect: changes in the job `detect`.
    """
    return {"label": label, "autoencoder": autoencoder, "detect": detect}


def reference_row(label: str, autoencoder: str = "", **detect: dict) -> dict:
    """A logistic regression on energies of what a detector reads, in place of that detector.

    Args:
      label, autoencoder, detect: of the detector's `row`, with which it shares the training.
    """
    return {**row(label, autoencoder, **detect), "evaluation": "energy_reference"}


def numbered(entries: dict[str, dict]) -> Config:
    """Rows or claims with numbers in their names: a ConfigDict sorts by name."""
    return ConfigDict(
        {f"{number:02d}_{name}": entry for number, (name, entry) in enumerate(entries.items(), 1)}
    )


def trained_on(*methods: str) -> dict:
    """The fakes that a detector learns from."""
    return {"data": {"methods": methods}}


def claim(text: str, better: str, worse: str, **where: str) -> dict:
    """A statement of the paper about two rows.

    Args:
      where: `column` and `trained_on` as in `run_result.Claim`.
    """
    return {"text": text, "better": better, "worse": worse, **where}


def manipulations(variant: str) -> dict[str, str]:
    """Label of a column -> method of the fakes."""
    return FACEFORENSICS if variant == "faceforensics" else PROCEDURAL


def trained_label(variant: str) -> str:
    """The fakes that most tables train on: Face2Face in the paper."""
    return "F2F" if variant == "faceforensics" else "lowres_swap"


def _data(variant: str) -> Config:
    data = ConfigDict()
    if variant == "synthetic":
        data.pretrain = ("synthetic:11#train", "synthetic:31#train")
        data.one_source = ("synthetic:11#train",)
        data.pretrain_validation = ("synthetic:11#validation?limit=64",)
        data.train = ("synthetic:11#train",)
        data.validation = ("synthetic:11#validation?limit=256",)
        data.test = ("synthetic:11#test",)
    elif variant == "smoke":
        data.pretrain = ("synthetic:1#train?limit=80", "synthetic:2#train?limit=80")
        data.one_source = ("synthetic:1#train?limit=80",)
        data.pretrain_validation = ("synthetic:1#validation?limit=16",)
        data.train = ("synthetic:1#train?limit=80",)
        data.validation = ("synthetic:1#validation?limit=40",)
        data.test = ("synthetic:1#test?limit=40",)
    elif variant == "photographs":
        data.pretrain = ("csv:data/photographs/train.csv",)
        data.one_source = ("csv:data/photographs/train.csv",)
        data.two_sources = (*data.one_source, "csv:data/other_photographs/train.csv")
        data.pretrain_validation = ("csv:data/photographs/validation.csv",)
        data.train = ("csv:data/photographs/train.csv",)
        data.validation = ("csv:data/photographs/validation.csv",)
        data.test = ("csv:data/photographs/test.csv",)
    else:
        data.pretrain = ("tfds:data/faceforensics#train", "tfds:data/forgerynet#train")
        data.one_source = ("tfds:data/faceforensics#train",)
        data.pretrain_validation = ("tfds:data/faceforensics#validation",)
        data.train = ("tfds:data/faceforensics#train",)
        data.validation = ("tfds:data/faceforensics#validation?frames=1",)
        data.test = ("tfds:data/faceforensics#test?dataset=FaceForensics++",)
    if "two_sources" not in data:
        data.two_sources = data.pretrain
    # Fakes with a mask of what was manipulated.
    data.masks = PROCEDURAL_MASKS.get(variant, ())
    # The foreign set on which the rule `transfer` chooses a checkpoint.
    data.chosen_on = ()
    return data


def _small(config: Config):
    """The models of the quickstart. Detectors train for twice its steps."""
    config.at_once = 2
    config.pretrain.model = ConfigDict(SMALL)
    config.pretrain.batch_size = 16
    config.pretrain.steps = 3600
    config.pretrain.optimizer.learning_rate = 2e-3
    config.pretrain.mask.kind = "grid"
    config.pretrain.mask.schedule = SMALL_SCHEDULE
    config.pretrain.unet = ConfigDict({"width": 8, "depth": 3})
    config.pretrain.evaluate_every = 10_000
    config.detect.model = ConfigDict(SMALL)
    config.detect.steps = 600
    config.detect.optimizer.learning_rate = 1e-3
    config.detect.optimizer.schedule = "cosine"
    config.detect.optimizer.warmup_steps = 60
    config.detect.evaluate_every = 60
    # All seeds and rows share the kept residuals.
    config.detect.residuals.training = "always"
    _in_memory(config)


def _smallest(config: Config):
    _small(config)
    config.at_once = 1
    config.pretrain.model = ConfigDict(SMALLEST)
    config.detect.model = ConfigDict(SMALLEST)
    config.pretrain.batch_size = config.detect.batch_size = 8
    config.pretrain.steps = config.detect.steps = 4
    config.pretrain.mask.schedule = ""
    config.pretrain.optimizer.warmup_steps = config.detect.optimizer.warmup_steps = 1
    config.pretrain.unet = ConfigDict({"width": 4, "depth": 2})
    config.detect.blocks.group = 4
    config.detect.evaluate_every = 2


def _in_memory(config: Config):
    for job in (config.pretrain, config.detect):
        job.data.workers = "0"
        job.data.cache = "True"
        job.log_every = 50
    config.evaluate.data.workers = 0


def _as_published(config: Config):
    """The paper's values, as in the jobs' own configs. Both branches start from an ImageNet ViT."""
    config.detect.detector.init = "weights/vit"
    config.detect.evaluate_every = 50
    config.smoothing = 25
