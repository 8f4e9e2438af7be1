"""Compiled programs that later runs find again, in JAX's own cache on disk."""

import os
import pathlib
from collections.abc import Mapping

import jax


def keep_compiled_programs(environment: Mapping[str, str] = os.environ):
    """Turns the cache on where compiling takes minutes: on a GPU or TPU.

    It lies in the user's cache folder. Whoever sets JAX_COMPILATION_CACHE_DIR chooses another
    one, on a CPU, too; JAX reads that variable by itself.
    """
    if jax.config.jax_compilation_cache_dir or jax.default_backend() == "cpu":  # pyright: ignore[reportAttributeAccessIssue]
        return
    caches = environment.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(caches, "rffr_jax", "compiled")
    jax.config.update("jax_compilation_cache_dir", str(folder))
