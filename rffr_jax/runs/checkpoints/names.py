"""Names of the best checkpoints of a run."""

import re


def best_checkpoint_name(validation: str, method: str = "") -> str:
    """The folder below `BEST`, and the NAME of `best:NAME`, for a validation set or its method.

    Names of data and methods are free text; what does not belong in a file name becomes `_`.
    """
    name = f"{validation}-{method}" if method else validation
    return re.sub(r"^\.|[^\w.+-]", "_", name) or "_"
