"""The detector that is used where none is named: an installed one, else that of `make demo`."""

import importlib.util
import logging
import os
import pathlib

from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import read_json_object

log = logging.getLogger(__name__)

DEMO, DEMO_DETECTOR = pathlib.Path("runs", "quickstart"), "RFFR"
PACKAGE, PACKAGE_DETECTOR = "rffr_jax_pretrained", "detector"
"""The distribution in `pretrained/`: an importable folder that holds model folders."""


def find_detector_folder(named: str | os.PathLike[str]) -> pathlib.Path:
    """The folder of the named detector, else of the installed one, else of the demo's first.

    Args:
      named: a folder, or "".

    Raises:
      UserError: none is named, installed, or trained by `make demo` below the current folder.
    """
    if named:
        return pathlib.Path(named)
    package = importlib.util.find_spec(PACKAGE)
    if package and package.submodule_search_locations:
        folder = pathlib.Path(package.submodule_search_locations[0], PACKAGE_DETECTOR)
        log.info("no detector is named: %s, the installed one, is used", folder)
        return folder
    runs = [file.parent for file in DEMO.glob(f"seed_*/{DEMO_DETECTOR}/run.json")]
    finished = [run for run in runs if read_json_object(run / "run.json")["done"]]
    if not finished:
        raise UserError(
            "no detector is named or installed: `pip install ./pretrained` in the source tree "
            "installs a research demonstration for photographs, `make demo` trains one on drawn "
            "faces, and --config.detector=DIR names another"
        )
    folder = min(finished, key=lambda run: int(run.parent.name.removeprefix("seed_")))
    log.info("no detector is named: %s, which `make demo` trained, is used", folder)
    return folder
