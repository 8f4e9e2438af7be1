"""Names of the checkpoints of a run."""

import pathlib
import re

LATEST = pathlib.Path("checkpoints", "latest")
BEST = pathlib.Path("checkpoints", "best")
FROZEN = {kind: pathlib.Path("checkpoints", kind) for kind in ("mae", "unet", "ridge")}
"""Where a detector's workdir holds what its residuals come from; a MAE's holds its ridge, too."""


def best_checkpoint_name(validation: str, method: str = "") -> str:
    """The folder below `BEST`, and the NAME of `best:NAME`, for a validation set or its method.

    Names of data and methods are free text; what does not belong in a file name becomes `_`.
    """
    name = f"{validation}-{method}" if method else validation
    return re.sub(r"^\.|[^\w.+-]", "_", name) or "_"
