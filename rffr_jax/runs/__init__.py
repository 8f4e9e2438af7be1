"""The folder of a run: its lock, config, files and checkpoints."""
