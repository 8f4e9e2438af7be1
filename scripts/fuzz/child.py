"""One child process that breaks files and reads them."""

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import shutil
import time
import traceback
from multiprocessing.connection import Connection

import numpy as np

from rffr_jax.errors import UserError
from rffr_jax.predict.detector import load_detector
from scripts.fuzz.kinds import FILES
from scripts.fuzz.mutations import mutate
from scripts.fuzz.readers import READERS

START_LIMIT = 300.0  # seconds until a child is ready


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one broken file.

    Attributes:
      number: of the file.
      kind: of `FILES`.
      what: `used`, the reason why not, or what went wrong.
      well: whether a user would have been told properly, in time.
      seconds: that it took.
    """

    number: int
    kind: str
    what: str
    well: bool
    seconds: float


class Child:
    """A process that breaks files and reads them; a crash or a hang ends only this process."""

    def __init__(self, folder: pathlib.Path, seed: int, worker: int, limit: float):
        self._arguments, self._limit = (folder, seed, worker), limit
        self._start()

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, *self._arguments), daemon=True)
        self._process.start()
        other.close()
        if not self._pipe.poll(START_LIMIT) or self._pipe.recv() != "ready":
            raise RuntimeError("a child process did not start")

    def outcome(self, number: int, kind: str) -> Outcome:
        """Of file `number`, of a kind of `FILES`."""
        self._pipe.send((number, kind))
        begun = time.monotonic()
        try:
            if self._pipe.poll(self._limit):
                return self._pipe.recv()
            what = f"takes longer than {self._limit:g} s"
        except EOFError:
            self._process.join()
            what = f"the process crashed, exit code {self._process.exitcode}"
        seconds = time.monotonic() - begun
        self.close()
        self._start()
        return Outcome(number, kind, what, False, seconds)

    def close(self):
        """Ends the process."""
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _work(pipe: Connection, folder: pathlib.Path, seed: int, worker: int):
    room = folder / f"worker{worker}"
    shutil.rmtree(room, ignore_errors=True)
    shutil.copytree(folder / "whole", room)
    if (room / "detector").exists():
        load_detector(room / "detector")  # its first call takes long
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # what decoders mutter
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            number, kind = pipe.recv()
            pipe.send(break_and_read(folder, room, seed, number, kind))


def break_and_read(
    folder: pathlib.Path, room: pathlib.Path, seed: int, number: int, kind: str
) -> Outcome:
    """Breaks one file in `room` as its number and the seed say, has it read, and puts it back."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
    name = FILES[kind][rng.integers(len(FILES[kind]))]
    whole = (folder / "whole" / name).read_bytes()
    is_json = kind in ("finished", "detector") or name.endswith(".json")
    donor = whole if is_json else (folder / "whole" / FILES[kind][-1]).read_bytes()
    broken = mutate(whole, donor, rng, is_json=is_json)
    file = room / name
    file.write_bytes(broken)
    kept = folder / "bad" / f"{number}-{name.replace('/', '-')}"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(broken)  # taken away again if all is well, so that a crash leaves it
    begun = time.monotonic()
    try:
        what, well = READERS[kind](room, file), True
    except UserError as error:
        what, well = f"UserError: {error}", "\n" not in str(error)
    except BaseException:
        what, well = traceback.format_exc().strip().splitlines()[-1], False
        kept.with_suffix(".txt").write_text(traceback.format_exc(), errors="replace")
    seconds = time.monotonic() - begun
    file.write_bytes(whole)
    if well:
        kept.unlink()
    return Outcome(number, kind, what, well, seconds)
