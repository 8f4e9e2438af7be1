"""The command `rffr-jax`: the program from any folder."""
