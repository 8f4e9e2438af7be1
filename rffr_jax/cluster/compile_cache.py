"""JAX's cache of compiled programs on disk, for later runs."""

import logging
import os
import pathlib
from collections.abc import Mapping

import jax

log = logging.getLogger(__name__)


def enable_compile_cache(environment: Mapping[str, str] = os.environ):
    """Turns the cache on where compiling takes minutes: on a GPU or TPU.

    The cache is in the user's cache folder. JAX_COMPILATION_CACHE_DIR, which JAX reads itself,
    chooses another folder, on a CPU, too. If the folder cannot be made, a warning says so and
    nothing is cached.
    """
    if jax.config.jax_compilation_cache_dir or jax.default_backend() == "cpu":  # pyright: ignore[reportAttributeAccessIssue]
        return
    try:
        caches = environment.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        folder = pathlib.Path(caches, "rffr_jax", "compiled")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        log.warning("compiled programs are not kept for later runs: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
