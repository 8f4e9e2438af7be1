"""Checkpoints of models and runs."""
