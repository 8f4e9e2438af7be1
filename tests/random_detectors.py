"""Detectors with random weights, made without a training."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from rffr_jax import __version__
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.model_folder import write_model

TINY = ModelSettings("tiny", 48, 12)


def settings_of(**changes: Any) -> DetectionSettings:
    """Those of a tiny RFFR detector, with some changes."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    fields = {"model": TINY, "mae": TINY, "inputs": "both", "blocks": "random", "residual": "mae"}
    return DetectionSettings(
        **{**fields, "k": 2, "alpha": 4.0, "mean": mean, "std": std, **changes}
    )


def random_detector(
    settings: DetectionSettings, spread: float = 0.05
) -> tuple[Detection, PyTree, PyTree]:
    """Forward functions, parameters, and those of what residuals come from; no array is zero."""
    generator = np.random.default_rng(0)
    detection = Detection(settings, jnp.float32)

    def noise(leaf: jax.ShapeDtypeStruct | jax.Array) -> np.ndarray:
        return spread * generator.standard_normal(leaf.shape, np.float32)

    parameters = jax.tree.map(
        lambda leaf: np.asarray(leaf) + noise(leaf), detection.init_parameters(0)
    )
    return detection, parameters, jax.tree.map(noise, detection.abstract_frozen)


def write_random_detector(folder: pathlib.Path, settings: DetectionSettings) -> pathlib.Path:
    """A model folder, which is returned."""
    detection, parameters, frozen = random_detector(settings)
    about = {
        **{"version": __version__, "kind": "detector", "detection": settings.to_json()},
        **{"trained_methods": ["rows"], "trained_datasets": ["faces"], "preparations": []},
    }
    empty = dict.fromkeys(("selected", "operating_point", "residual_reference"))
    config = {"about": about, "autoencoder_datasets": [], "metrics": {}, "statement": "", **empty}
    parts = {"detector": detection.trained_part(parameters)}
    parts |= {settings.autoencoder: frozen} if settings.autoencoder else {}
    write_model(folder, parts, config, "# A detector\n\nFor tests.\n")
    return folder


def random_images(count: int, size: int = 48) -> np.ndarray:
    """uint8 [count, size, size, 3]."""
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)
