"""The frame of every program: environment, streams, exit code and errors in one line."""

import argparse
import contextlib
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from rffr_jax.config import refuse_address
from rffr_jax.errors import UserError

USER_MISTAKE = 2
OUTPUT_CLOSED = 141  # 128 + SIGPIPE, as of Unix programs
# JAX's defaults: with other values the numbers were not tested, or nothing runs.
JAX_SETTINGS = {
    "JAX_ENABLE_X64": False,
    "JAX_DISABLE_JIT": False,
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
    "JAX_NUMPY_RANK_PROMOTION": "allow",
}


class Parser(argparse.ArgumentParser):
    """A parser of flags that reports a mistake in one line.

    Arguments of the type `pathlib.Path` are of this machine: addresses are refused, also `hf://`.
    """

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self.register("type", pathlib.Path, _local_path)

    def error(self, message: str) -> NoReturn:
        """Raises: UserError."""
        raise UserError(f"{message}; {' '.join(self.format_usage().split())}")


def _local_path(text: str) -> pathlib.Path:
    refuse_address(text)
    return pathlib.Path(text)


def run_program(
    main: Callable[[], int], prefix: str = "error", models: bool = False, pages: bool = False
) -> int:
    """Runs the main function of a program, whatever the settings of shell and terminal.

    Characters that the terminal cannot show are printed escaped. Addresses (`gs://...`) among the
    arguments are refused. A device that JAX does not find and an output on a full disk are told in
    one line. A program whose reader has stopped ends without a word.

    Args:
      main: does the work and returns the exit code.
      prefix: of a line on stderr.
      models: whether arguments may name models on the Hugging Face hub (`hf://`).
      pages: whether arguments may be addresses, because the program talks to a server.

    Returns:
      The exit code.
    """
    _make_streams_printable()
    _set_environment()
    code = None
    try:
        for argument in () if pages else sys.argv[1:]:
            refuse_address(argument, models=models)
        with device_errors_in_one_line():
            code = _exit_code(main)
        sys.stdout.flush()
        return code
    except UserError as error:
        text = str(error)
    except OSError as error:
        if not _output_is_lost():
            raise
        if isinstance(error, BrokenPipeError):  # the reader has stopped, as `head` does
            return OUTPUT_CLOSED if code is None else code
        text = f"standard output cannot be written: {error.strerror}; files are complete"
    with contextlib.suppress(OSError):
        print(f"{prefix}: {text}", file=sys.stderr)
    return USER_MISTAKE


@contextlib.contextmanager
def device_errors_in_one_line() -> Iterator[None]:
    """Raises: UserError if JAX does not find the devices that JAX_PLATFORMS asks for."""
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if not frames or frames[-1].f_globals.get("__name__") != "jax._src.xla_bridge":
            raise
        platforms = os.environ.get("JAX_PLATFORMS", "")
        reason = " ".join(str(error).split()) or "there is none on this machine"
        raise UserError(
            f"JAX cannot use the devices of JAX_PLATFORMS={platforms!r}: {reason}; unset it, set "
            "it to cpu, or install JAX for that device"
        ) from error


def _exit_code(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit as end:  # of argparse
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _make_streams_printable():
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: `>&-`
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _set_environment():
    """Sets environment variables, which child processes inherit."""
    os.environ["MPLBACKEND"] = "agg"  # pictures are only ever written to files
    for name, value in JAX_SETTINGS.items():
        text = str(int(value)) if isinstance(value, bool) else value
        given = os.environ.get(name, text)
        if given.lower() not in (text, str(value).lower()):
            print(f"note: {name}={given} is not used; {name}={text} is", file=sys.stderr)
        if name in os.environ:
            os.environ[name] = text
            if jax := sys.modules.get("jax"):
                jax.config.update(name.lower(), value)


def _output_is_lost() -> bool:
    """Whether standard output cannot be written; text that it has buffered is then dropped."""
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
