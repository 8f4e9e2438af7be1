"""RFFR: Real Face Foundation Representation Learning for deepfake detection, in JAX/Flax."""

__version__ = "0.1.0"
