"""A detector's folder with random weights: for measuring and breaking things, not for scores."""

import pathlib

import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.mae import MAE
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.names import FROZEN, LATEST
from rffr_jax.runs.checkpoints.weights import save_weights


def save_untrained_detector(folder: pathlib.Path, model: ModelSettings, k: int) -> PyTree:
    """Writes what `load_detector` reads: a two-branch detector with its MAE, nothing learned.

    Returns:
      The detector's parameters.
    """
    settings = DetectionSettings(
        model=model,
        mae=model,
        inputs="both",
        blocks="random",
        residual="mae",
        k=k,
        alpha=4.0,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    about = {
        "kind": "detector",
        "detection": settings.to_json(),
        "trained_methods": ["nothing"],
        "trained_datasets": ["synthetic"],
        "preparations": [],
    }
    mae = nnx.to_pure_dict(nnx.state(MAE(model, dtype=jnp.float32, rngs=nnx.Rngs(0)), nnx.Param))
    parameters = Detection(settings, jnp.float32).init_parameters(0)
    save_weights(folder / LATEST, 0, parameters, about)
    save_weights(folder / FROZEN["mae"], 0, mae, {"kind": "mae", "k": k})
    return parameters
