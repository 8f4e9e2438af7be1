"""RFFR: Real Face Foundation Representation Learning for deepfake detection, in JAX/Flax."""
