"""A model folder for rffr-jax: `detector`, with its MAE. Its README.md says what it is for."""
