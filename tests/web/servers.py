"""The server as a user starts it, for the tests."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

from tests import jobs

SECONDS_TO_START, SECONDS_TO_END = 180, 60
START = (sys.executable, "-m", "rffr_jax.main", f"--config={jobs.CONFIGS}/web.py")


class Server:
    """A running server.

    Attributes:
      address: where it listens, as `http://HOST:PORT`.
      workdir: its own.
      lines: what it said so far.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        flags: tuple[str, ...],
        start: Sequence[str] = START,
        cwd: pathlib.Path = jobs.CONFIGS.parent,
    ):
        self.workdir = workdir
        variables = os.environ | {"JAX_PLATFORMS": "cpu", "TMPDIR": str(workdir.parent)}
        variables.pop("PYTHONPATH", None)  # the package is that of `start`, in `cwd` or installed
        self.process = subprocess.Popen(
            [*start, f"--workdir={workdir}", *(f"--config.{flag}" for flag in flags)],
            cwd=cwd,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._opened, self.address = threading.Event(), ""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self):
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"open (http://\S+)", line)
            if found:
                self.address = found[1]
                self._opened.set()
        self._opened.set()

    def wait_until_open(self):
        assert self._opened.wait(SECONDS_TO_START)
        assert self.address, "".join(self.lines)

    def scorers(self) -> list[int]:
        """The process ids of those that score."""
        task = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        threads = task.parent.parent.glob("*/children")
        children = [int(pid) for file in threads for pid in file.read_text().split()]
        return [pid for pid in children if "spawn_main" in _command(pid)]

    def close(self):
        """Kills it if it is still there."""
        self.process.kill()
        self.process.wait(SECONDS_TO_END)
        self._listener.join(SECONDS_TO_END)
        assert self.process.stdout
        self.process.stdout.close()

    def end(self) -> int:
        """Asks it to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Waits until it has ended and `lines` has all that it said; its exit code."""
        code = self.process.wait(SECONDS_TO_END)
        self._listener.join(SECONDS_TO_END)
        assert not self._listener.is_alive()  # no child is left that could say more
        return code


def _command(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/cmdline").read_text()


@contextlib.contextmanager
def served(
    workdir: pathlib.Path,
    *flags: str,
    start: Sequence[str] = START,
    cwd: pathlib.Path = jobs.CONFIGS.parent,
) -> Iterator[Server]:
    """A server that is open; it is killed at the end if it is still there.

    Args:
      start: the command without flags.
      cwd: where it is started.
    """
    server = Server(workdir, ("port=0", *flags), start, cwd)
    try:
        server.wait_until_open()
        yield server
    finally:
        server.close()
