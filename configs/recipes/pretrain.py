"""A MAE of photographs, for 64, 112 (the default) or 224 px: ours, not the paper's settings.

python scripts/make_photograph_benchmark.py --input FACES --output data/benchmark
python -m rffr_jax.main --config=configs/recipes/pretrain.py:112

variant  model               images     time                      error inside the face
64       mini, patch 8       384,000    0.2 h of 2 cores (a)      not measured
112      small, patch 14     768,000    87 min of one core (m)    0.0047 on unseen people (m)
224      vit_s16, patch 16   3,000,000  0.2 h of an H100 (a)      not measured

(m) measured: docs/training_well.md; 112 is the MAE in pretrained/. (a) arithmetic: 64 px at the 780
images a second of such a model; 224 px from 6.8e16 matrix operations (190 h of 2 cores) at a tenth
of the card's rate, with images that wait for nothing. The images of 224 px are made with
--size 224 --output data/benchmark_224. On your own real faces: --config.data.train=folder:FACES.
"""

from ml_collections import ConfigDict

from configs import pretrain
from configs.recipes.sizes import BENCHMARKS, MODELS, check
from rffr_jax.config import Config


def get_config(size: str = "112") -> Config:
    check("pretrain", size)
    config = pretrain.get_config()
    folder = BENCHMARKS[size]
    # Portraits are many and mostly grey: four draws of five.
    config.data.train = tuple(
        f"csv:{folder}/mae.csv?dataset={name}&weight={weight}"
        for name, weight in (("portraits", 4), ("ffhq", 1))
    )
    config.data.validation = (f"csv:{folder}/unit0/validation.csv",)
    config.data.augmentation.crop = 0.15
    config.data.augmentation.flip = True
    config.data.augmentation.gain = config.data.augmentation.gamma = 0.2
    config.data.augmentation.tint = True
    config.model = ConfigDict(MODELS[size])
    # Eight blocks at a time teach more in a step; one block, as detectors read them, last.
    config.mask.kind = "grid"
    config.mask.schedule = "gridx8:0.7"
    config.batch_size, config.steps = {"64": (32, 12_000), "112": (32, 24_000)}.get(
        size, (256, 11_720)
    )
    config.optimizer.learning_rate = {"64": 2e-3, "112": 1.5e-3, "224": 5e-4}[size]
    config.optimizer.warmup_steps = config.get_ref("steps") // 20
    if size != "224":
        # In this process, for a CPU.
        config.data.workers = "0"
    return config
