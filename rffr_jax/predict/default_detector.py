"""The detector that is used where none is named: the one that `make demo` trains."""

import logging
import pathlib
import re

from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import read_json_object

log = logging.getLogger(__name__)

DEMO = pathlib.Path("runs", "quickstart")
TRAINED, RECORD = "RFFR", "run.json"
"""In the folder of a seed: the method's own detector; in its folder: whether it is trained."""


def find_detector_folder(named: str) -> pathlib.Path:
    """The detector's folder: the one that is named, else that of the quickstart's first seed.

    Raises:
      UserError: none is named, and no quickstart has trained one below the current folder.
    """
    if named:
        return pathlib.Path(named)
    records = DEMO.glob(f"seed_*/{TRAINED}/{RECORD}")
    done = [file.parent for file in records if read_json_object(file)["done"]]
    if not done:
        raise UserError(
            f"no detector is named and {DEMO} holds none: name one with --config.detector=DIR, or "
            "run `make demo`, which trains a small one on procedural faces for trying the program"
        )
    folder = min(done, key=_seed)
    log.info("no detector is named: %s, which `make demo` trained, is used", folder)
    return folder


def _seed(folder: pathlib.Path) -> int:
    return int(re.sub(r"\D", "", folder.parent.name) or 0)
