"""Pages of the Python interface, from docstrings."""

import pathlib

from scripts.docs_site.navigation import GENERATED, toctree

# Pages in the order of the navigation: file name, title, modules.
PAGES = (
    (
        "scoring",
        "Scoring from Python",
        (
            "rffr_jax",
            "rffr_jax.predict.detector",
            "rffr_jax.predict.prediction",
            "rffr_jax.predict.evidence",
            "rffr_jax.faces.face",
            "rffr_jax.errors",
        ),
    ),
    (
        "method",
        "The method",
        (
            "rffr_jax.method.blocks",
            "rffr_jax.method.residual",
            "rffr_jax.method.baseline_residuals",
            "rffr_jax.method.detection_settings",
            "rffr_jax.method.detection",
        ),
    ),
    (
        "models",
        "Models",
        (
            "rffr_jax.models.sizes",
            "rffr_jax.models.layers",
            "rffr_jax.models.mae",
            "rffr_jax.models.vit",
            "rffr_jax.models.detector",
            "rffr_jax.models.backbone",
            "rffr_jax.models.unet",
        ),
    ),
    (
        "data",
        "Data sets",
        ("rffr_jax.examples", "rffr_jax.data.specs", "rffr_jax.images.alignment"),
    ),
    (
        "evaluation",
        "Metrics",
        (
            "rffr_jax.evaluation.metrics",
            "rffr_jax.evaluation.bootstrap",
            "rffr_jax.evaluation.threshold",
            "rffr_jax.evaluation.calibration",
        ),
    ),
    (
        "weights",
        "Weights",
        (
            "rffr_jax.runs.checkpoints.weights",
            "rffr_jax.convert.importing",
            "rffr_jax.convert.exporting",
            "rffr_jax.convert.rules",
            "rffr_jax.convert.tables",
        ),
    ),
)
INTRODUCTION = """# Python

`import rffr_jax` has what most programs need. The other modules may change with any version
before 1.0. Arrays have their shapes in the signatures: `Float[Array, "batch size size 3"]` is a JAX
array of floating-point numbers with four axes.
"""


def write(folder: pathlib.Path):
    """Writes `api/`: a page for each part of the package, and `index.md`."""
    names = tuple(f"{GENERATED}/api/{name}" for name, _, _ in PAGES)
    pages = {"index": INTRODUCTION + toctree("", names, hidden=False)}
    for name, title, modules in PAGES:
        pages[name] = f"# {title}\n" + "".join(map(_section, modules))
    for name, text in pages.items():
        path = folder / "api" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _section(module: str) -> str:
    directive = f".. automodule:: {module}\n   :members:\n"
    return f"\n## {module}\n\n```{{eval-rst}}\n{directive}```\n"
