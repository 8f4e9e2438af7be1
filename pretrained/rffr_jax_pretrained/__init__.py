"""Model folders for rffr-jax: `mae` and `detector`. Their README.md say what they are for."""
