"""A child process that loads the detector and scores one file at a time.

It can be killed, so no file blocks the next ones. Several of them know nothing of each other.
"""

import mimetypes
import multiprocessing
import pathlib
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from rffr_jax.cluster.blocked_signals import blocked_signals
from rffr_jax.config import Config
from rffr_jax.errors import UserError
from rffr_jax.reports.pictures import data_uri
from rffr_jax.web.refused import RefusedError, server_stops
from rffr_jax.web.stop_signals import SIGNALS

if TYPE_CHECKING:
    from rffr_jax.predict.detector import LoadedDetector
    from rffr_jax.predict.face_settings import FaceSettings

SECONDS_TO_START = 600.0
"""Within which a child must load its detector and compile it."""

SECONDS_TO_END = 2.0
"""Within which an idle child must end, before it is killed."""


class NoChildError(UserError):
    """The system starts no further process."""


class ScoringProcess:
    """Starts the child, and another one when it is needed after one died or was killed.

    Attributes:
      detector: its name; '' until it is known.
      note: a warning to show beside every score; '' if there is none, or none is known yet.
    """

    detector = note = ""

    def __init__(self, config: Config):
        """Starts the first child and does not wait for it.

        Raises:
          NoChildError: it cannot be started.
        """
        self._config, self._seconds = config.to_dict(), config.seconds_per_file
        self._turn, self._closed = threading.Lock(), False
        self._process: BaseProcess | None = None
        self._begin()

    def wait_until_ready(self):
        """Waits until the child can score, or the server stops.

        Raises:
          UserError: no child can be started, the detector cannot be loaded, or a setting is not
            possible.
        """
        with self._turn:
            if not self._closed:
                self._wait_until_ready()

    def score(self, file: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
        """predictions.json of one file, with pictures as `data:` URLs.

        Args:
          folder: an empty one, for temporary files.

        Raises:
          RefusedError: it takes longer than `seconds_per_file` (504), the child dies (500), no
            child can be started or the server stops (503).
        """
        with self._turn:
            if self._closed:
                raise server_stops()
            try:
                self._wait_until_ready()
                self._connection.send((file, folder))
                if self._connection.poll(self._seconds):
                    return self._connection.recv()
                refused = RefusedError(504, f"it took longer than {self._seconds:g} seconds")
            except NoChildError:
                raise RefusedError(
                    503, "the server cannot start a process that scores; try again later"
                ) from None
            except (EOFError, OSError, UserError):
                refused = RefusedError(500, "the scoring process died on this file")
            self._kill()
            raise server_stops() if self._closed else refused

    def close(self):
        """Ends the child, even while it scores; `score` then says that the server stops."""
        self._closed = True
        process = self._process
        if self._turn.acquire(blocking=False):
            if process:
                self._connection.close()  # an idle child ends then
                process.join(SECONDS_TO_END)
        else:
            if process:
                process.kill()
            self._turn.acquire()  # what waits for the child sees its end
        self._kill()
        self._turn.release()

    def _begin(self):
        self._ready = False
        spawn = multiprocessing.get_context("spawn")
        try:
            ours, theirs = spawn.Pipe()
            with theirs:
                process = spawn.Process(target=_serve, args=(self._config, theirs), daemon=True)
                with blocked_signals(SIGNALS):
                    process.start()
        except OSError as error:
            raise NoChildError(
                f"a process that scores cannot be started: {error.strerror}; are there too many "
                "processes, or is memory short?"
            ) from error
        self._connection, self._process = ours, process
        if self._closed:  # `close` saw no child that it could kill
            process.kill()

    def _kill(self):
        if self._process:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None

    def _wait_until_ready(self):
        if not self._process:
            self._begin()
        if self._ready:
            return
        if not self._connection.poll(SECONDS_TO_START):
            raise UserError(f"the detector was not loaded within {SECONDS_TO_START:g} seconds")
        try:
            loaded, said = self._connection.recv()
        except (EOFError, OSError) as error:
            raise UserError("the process that loads the detector died; is memory short?") from error
        if not loaded:
            raise UserError(said)
        self._ready, (self.detector, self.note) = True, said


def _serve(entries: dict[str, Any], connection: Connection):
    """The child: one answer for each file, until the other end is closed."""
    for name in SIGNALS:  # sent to all processes, they are for the server
        signal.signal(name, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    import numpy as np

    from rffr_jax.cluster.compile_cache import enable_compile_cache
    from rffr_jax.predict.predict import detector_and_settings

    enable_compile_cache()
    config = ConfigDict(entries)
    try:
        detector, settings = detector_and_settings(config)
        size = detector.image_size
        detector.explain(np.zeros((size, size, 3), np.uint8))
    except UserError as error:
        connection.send((False, str(error)))
        return
    connection.send((True, (detector.name, detector.note)))
    while True:
        try:
            file, folder = connection.recv()
        except EOFError:
            return
        connection.send(score_file(config, detector, settings, file, folder))


def score_file(
    config: Config,
    detector: "LoadedDetector",
    settings: "FaceSettings",
    file: pathlib.Path,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """As `ScoringProcess.score`, in this process and without a time limit."""
    from rffr_jax.predict.file_scorer import FileScorer
    from rffr_jax.predict.inputs import named_file
    from rffr_jax.predict.predictions_file import SCHEMA

    scorer = FileScorer(config, folder, detector, settings, views=True)
    scorer.score_files([named_file(file)])
    (record,) = scorer.finished.records([file])
    for face in record["faces"]:
        scale = [face["heat_scale"]] if face.get("heat_scale") else []
        for entry in (face, *face["peaks"], *face["frames"], *face.get("views", ()), *scale):
            for name in ("evidence", "picture", "colours"):
                if entry.get(name):
                    entry[name] = picture_data_uri(folder / entry[name])
    about = hide_paths(scorer.about)
    counts = {status: int(record["status"] == status) for status in ("real", "fake", "unknown")}
    return {"schema": SCHEMA, **about, "files": [record], "counts": counts}


def picture_data_uri(file: pathlib.Path) -> str:
    """A picture as a `data:` URI, which a browser shows."""
    kind, _ = mimetypes.guess_type(file.name)
    return data_uri(file.read_bytes(), kind or "application/octet-stream")


def hide_paths(about: dict[str, Any]) -> dict[str, Any]:
    """The fields of predictions.json about a run, without the folders of this machine."""
    faces = about["preprocessing"]["faces"]
    if faces.get("weights"):
        faces = faces | {"weights": pathlib.Path(faces["weights"]).name}
    detector = about["detector"] | {"path": pathlib.Path(about["detector"]["path"]).name}
    reference = about["residual_reference"]
    if reference:
        reference = reference | {"data": [_last_part(spec) for spec in reference["data"]]}
    return about | {
        "residual_reference": reference,
        "command": "",
        "chosen_on": [_last_part(spec) for spec in about["chosen_on"]],
        "detector": detector,
        "preprocessing": about["preprocessing"] | {"faces": faces},
    }


def _last_part(spec: str) -> str:
    return spec.rpartition("/")[2]
