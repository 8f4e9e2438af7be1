"""The API before a stand-in for the process that scores, without and with a real connection."""

import asyncio
import contextlib
import hashlib
import io
import logging
import pathlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import httpx
import numpy as np
import uvicorn
from PIL import Image

from rffr_jax.web.api import make_api
from rffr_jax.web.connection import Connection
from rffr_jax.web.graceful_server import GracefulServer
from rffr_jax.web.multipart_file import Limits
from rffr_jax.web.refused import server_stops
from rffr_jax.web.scoring_process import ScoringProcess
from rffr_jax.web.serve import SECONDS_TO_END
from rffr_jax.web.stop_signals import StopSignals
from rffr_jax.web.trusted_hosts import TrustedHosts
from rffr_jax.web.upload_queue import UploadQueue

MOST_BYTES = 100_000
TERMS = {"images": ["PNG"], "videos": ["MP4"], "most_faces": 3}
SECONDS = 60
LOGGERS = ("uvicorn.error", "asyncio")


class StandIn(ScoringProcess):
    """Answers with the SHA-256 of a file, when `go_on` is set, and is ready when `ready` is."""

    note = "this is for tests"

    def __init__(self, refusal: Exception | None = None):
        self.go_on = threading.Event()
        self.go_on.set()
        self.ready = threading.Event()
        self.ready.set()
        self.refusal = refusal
        self.scored, self.closed = 0, False

    def score(self, file: pathlib.Path, folder: pathlib.Path):
        assert folder.is_dir()
        self.go_on.wait(60)
        if self.closed:
            raise server_stops()
        if self.refusal:
            raise self.refusal
        self.scored += 1
        return {"files": [{"path": str(file), "sha256": digest(file.read_bytes())}]}

    def wait_until_ready(self):
        self.ready.wait(60)

    def close(self):
        self.closed = True
        self.go_on.set()


class Defects(logging.Handler):
    """Keeps what is logged of exceptions."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord):
        self.found.append(self.format(record))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def png(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def form(data: bytes, disposition: str = 'name="file"; filename="face.png"') -> bytes:
    """The body of an upload, with `b` for a boundary."""
    head = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return head.encode("utf-8", "surrogateescape") + data + b"\r\n--b--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def talk(
    folder: pathlib.Path,
    scorer: StandIn,
    conversation,
    *,
    others: Sequence[StandIn] = (),
    most_waiting: int = 20,
    seconds: float = 20.0,
):
    """Runs `conversation(client_of)` with a function from a sender's address to a client."""

    async def main():
        uploads = UploadQueue([scorer, *others], folder, most_waiting)
        api = make_api(uploads, Limits(MOST_BYTES, seconds), ("test",), TERMS)
        async with contextlib.AsyncExitStack() as stack:

            async def client_of(sender: str = "127.0.0.1") -> httpx.AsyncClient:
                transport = httpx.ASGITransport(
                    app=api, raise_app_exceptions=False, client=(sender, 1234)
                )
                client = httpx.AsyncClient(transport=transport, base_url="http://test")
                return await stack.enter_async_context(client)

            return await asyncio.wait_for(conversation(client_of), 60)

    return asyncio.run(main())


@contextlib.contextmanager
def listening(folder: pathlib.Path, scorer: StandIn, seconds: float = 20.0) -> Iterator[int]:
    """The port of 127.0.0.1 on which a real server answers, in a thread, and logs no defect."""
    with running(folder, scorer, seconds) as (port, _, _):
        yield port


@contextlib.contextmanager
def running(
    folder: pathlib.Path, scorer: StandIn, seconds: float = 20.0, seconds_to_stop: float = 60.0
) -> Iterator[tuple[int, GracefulServer, threading.Thread]]:
    """As `listening`, with the server and its thread."""
    defects = Defects()
    for name in LOGGERS:
        logging.getLogger(name).addHandler(defects)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        uploads = UploadQueue([scorer], folder, 20)
        limits = Limits(MOST_BYTES, seconds)
        api = make_api(uploads, limits, TrustedHosts("127.0.0.1", port), TERMS)
        settings = uvicorn.Config(
            api,
            http=Connection,
            ws="none",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        server = GracefulServer(settings, uploads, StopSignals(), seconds_to_stop)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until = time.monotonic() + SECONDS
            while not server.started and time.monotonic() < until:
                time.sleep(0.01)
            assert server.started
            yield port, server, thread
        finally:
            server.should_exit = True
            thread.join(SECONDS)
            for name in LOGGERS:
                logging.getLogger(name).removeHandler(defects)
            assert not thread.is_alive()
            assert not defects.found
