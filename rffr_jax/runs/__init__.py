"""The folder of a run: its lock, its config, whole files, checkpoints."""
