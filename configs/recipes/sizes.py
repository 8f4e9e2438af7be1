"""What the recipes of one image size share: the models and the folders of the benchmark."""

from rffr_jax.errors import UserError

MODELS = {
    "64": {"size": "mini", "image_size": 64, "patch_size": 8},
    "112": {"size": "small", "image_size": 112, "patch_size": 14},
    "224": {"size": "vit_s16", "image_size": 224, "patch_size": 16},
}
# Of scripts/make_photograph_benchmark.py; 64 px reads the images of 112 px.
BENCHMARKS = {"64": "data/benchmark", "112": "data/benchmark", "224": "data/benchmark_224"}


def check(recipe: str, size: str):
    """Raises: UserError if there is no such size."""
    if size not in MODELS:
        raise UserError(
            f"variant {size!r} is not known; write --config=configs/recipes/{recipe}.py:SIZE with "
            f"one of {', '.join(MODELS)}"
        )
