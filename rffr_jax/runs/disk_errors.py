"""What the operating system said where a file could not be written."""

import errno
import os
import re

TROUBLES = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EIO,
)


def disk_trouble(error: BaseException | None) -> str | None:
    """Why a file could not be written, if that is what an error comes from; else None.

    Full disks and quotas, limits, missing permissions and things in the way count. TensorStore,
    which writes the arrays of checkpoints, has errors of its own, with the number in their text.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in TROUBLES:
            name = f" ({error.filename})" if error.filename else ""
            return f"{os.strerror(error.errno)}{name}"
        told = re.search(r"os_error_code='(\d+)'", str(error))
        if told and int(told[1]) in TROUBLES:
            return os.strerror(int(told[1]))
        error = error.__cause__ or error.__context__
    return None
