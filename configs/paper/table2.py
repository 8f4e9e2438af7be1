"""Table 2: training on one data set, tests on others; with fakes, or only with self-blended images.

The first foreign set chooses the weights for both sets, so its own number is an oracle's. The
procedural foreign sets show other people, and each has a manipulation that was not trained on.
Those of photographs stand in for the paper's, too: a second source of photographs, and drawn faces.

python -m rffr_jax.main --config=configs/paper/table2.py:synthetic
"""

from ml_collections import ConfigDict

from configs.paper.base import (
    WHOLE_IMAGES,
    base,
    claim,
    numbered,
    rival,
    row,
    trained_on,
)
from rffr_jax.config import Config

TRAINED = ("lowres_swap", "mouth_warp")
PROCEDURAL = (
    "one data set",
    TRAINED,
    "synthetic:21#validation?method=polygon_paste{limit}",
    {
        "polygon_paste, other people": "synthetic:21#test?method=polygon_paste{limit}",
        "texture_upsample, other people": "synthetic:22#test?method=texture_upsample{limit}",
    },
)


def _limited(limit: str) -> tuple:
    label, methods, chosen_on, tests = PROCEDURAL
    tests = {name: test.format(limit=limit) for name, test in tests.items()}
    return label, methods, chosen_on.format(limit=limit), tests


DATA = {
    "synthetic": _limited(""),
    "smoke": _limited("&limit=24"),
    "photographs": (
        "photographs",
        TRAINED,
        "csv:data/other_photographs/validation.csv?method=polygon_paste",
        {
            "polygon_paste, other photographs": (
                "csv:data/other_photographs/test.csv?method=polygon_paste"
            ),
            "texture_upsample, drawn faces": "synthetic:22#test?method=texture_upsample",
        },
    ),
    "faceforensics": (
        "FF",
        ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"),
        "tfds:data/celeb_df#validation?frames=1",
        {"Celeb-DF": "tfds:data/celeb_df#test", "DFDC": "tfds:data/dfdc#test"},
    ),
}


def get_config(variant: str = "synthetic") -> Config:
    config = base("table2", "trained on one data set, tested on others", variant, DATA)
    label, methods, chosen_on, tests = DATA[variant]
    config.trained_on = ConfigDict({label: trained_on(*methods)})
    train = config.data.train
    if variant == "photographs":
        # Blending needs landmarks; a table without them holds faces that are aligned as FFHQ's.
        train = tuple(f"{spec}?landmarks=aligned" for spec in train)
    self_blended = {"fakes": "self_blended", "methods": (), "train": train}
    never = {"training": "never"}
    config.rows = numbered(
        {
            "recce": row("RECCE", **rival("recce", variant)),
            "uia_vit": row("UIA-ViT", **rival("uia_vit", variant)),
            "sbi": row("SBI", **rival("sbi", variant) | {"data": self_blended, "residuals": never}),
            "vit": row("ViT + SBI", detector=WHOLE_IMAGES, data=self_blended, residuals=never),
            "ours": row("Ours", "mae"),
            "ours_sbi": row("Ours + SBI", "mae", data=self_blended, residuals=never),
            "plain": row(
                "Ours + SBI, no augmentation",
                "mae",
                data={**self_blended, "post_augmentation": False},
                residuals=never,
            ),
        }
    )
    config.rules = ("transfer", "last")
    config.data.chosen_on = (chosen_on,)
    config.data.validation = (*config.data.validation, chosen_on)
    config.columns = ConfigDict(
        {name: {"test": (test,), "method": ""} for name, test in tests.items()}
    )
    first, both = next(iter(tests)), "Ours + SBI"
    config.claims = numbered(
        {
            "blending": claim(
                "self-blended images help on the first foreign set", both, "Ours", column=first
            ),
            "sbi": claim("RFFR adds to SBI", both, "SBI", column=first),
            "recce": claim("RFFR beats RECCE", "Ours", "RECCE", column=first),
            "uia_vit": claim("RFFR beats UIA-ViT", "Ours", "UIA-ViT", column=first),
            "vit": claim("RFFR adds to a ViT with SBI", both, "ViT + SBI", column=first),
        }
    )
    return config
