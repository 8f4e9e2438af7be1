"""Files of networks, and onnxruntime sessions of them."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

from rffr_jax.errors import UserError

log = logging.getLogger(__name__)

# cuDNN would search anew for the fastest algorithm at every size of pictures.
_GPU = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
_CPU = "CPUExecutionProvider"


def read_weights(path: pathlib.Path, what: str = "detector weights") -> bytes:
    """The bytes of a network's file.

    Args:
      path: the file.
      what: it is called in the error.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{what} {path}: {reason}; name an ONNX file") from None


def open_session(data: bytes) -> Any:
    """An onnxruntime session with one thread, on the GPU where onnxruntime can use one.

    Args:
      data: an ONNX file.

    Raises:
      UserError: onnxruntime is not installed.
      Exception: of onnxruntime, where the data are no such file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError("ONNX files run on onnxruntime; pip install 'rffr-jax[faces]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    gpu = [_GPU] if _GPU[0] in onnxruntime.get_available_providers() else []
    session = onnxruntime.InferenceSession(data, options, providers=[*gpu, _CPU])
    if gpu and not runs_on_gpu(session):
        log.warning("onnxruntime cannot use the GPU: faces are found on the CPU")
    return session


@contextlib.contextmanager
def probing(where: str, pictures: str) -> Iterator[None]:
    """Opens and tries a network; onnxruntime's errors become one line.

    Args:
      where: the file, as the error names it.
      pictures: that the network must take, such as `any size`.

    Raises:
      UserError: it is no ONNX network for such pictures.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # onnxruntime's own kinds derive from Exception directly
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{where}: not an ONNX network for pictures of {pictures} ({reason})"
        ) from None


def runs_on_gpu(session: Any) -> bool:
    """Whether a session uses the GPU."""
    return _GPU[0] in session.get_providers()
