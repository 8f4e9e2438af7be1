"""Uploads that are sent to the HTTP API over a real connection, most of them in whole requests.

The picture or video comes broken. The request around it is broken here, as the bytes of the
picture say, so that a kept file shows both.
"""

import functools
import itertools
import json
import logging
import os
import pathlib
import runpy
import socket
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
MOST_BYTES = 100_000
SECONDS_WITHOUT_PROGRESS = 1.0
SECONDS = 60.0  # for an answer
BOUNDARY = "fuzz"
NAMES = (
    *("a.png", "", ".", "..", "/", "../../etc/passwd", "/etc/passwd", "C:\\\\a.png", "a\0b.png"),
    *("a" * 3000, "..%2f..%2fa", "\udcff\udcfe.png", "<b>.png", 'a"; name="b', "a\u202egnp.exe"),
)
HOSTS = ("evil.org", "localhost", "127.0.0.1", "localhost:1", "evil.org:{port}", "", "[::1]", "a b")
ORIGINS = ("http://evil.org", "null", "http://127.0.0.1:1", "http://localhost:{port}", "file://")
ADDRESSES = (
    *("/gradio_api/run/predict", "/gradio_api/queue/join", "/run/predict", "/queue/join"),
    *("/upload", "/api/predict/", "/api/../api/predict", "//api/predict", "/api/predict%00"),
)
Broken = Callable[[bytes, np.random.Generator], bytes]


class Plan(NamedTuple):
    """How an upload is sent.

    Attributes:
      fault: what is wrong with the request.
      pieces: its bytes, in the pieces in which they are sent.
      statuses: that it may be answered with.
      silence: whether it may be without an answer.
      pause: seconds between the pieces.
      leaves: whether the sender closes when all is sent.
    """

    fault: str
    pieces: Sequence[bytes]
    statuses: tuple[int, ...]
    silence: bool = False
    pause: float = 0.0
    leaves: bool = False


def send_upload(room: pathlib.Path, file: pathlib.Path, broken: Broken | None) -> str:
    """Sends a file; what became of it.

    Args:
      room: holds `detector`.
      broken: breaks bytes; None sends the file in a whole request.

    Raises:
      AssertionError: the answer is not one that a user should get, or a file is left behind.
    """
    service = service_for(room)
    picture = file.read_bytes()
    rng = np.random.default_rng(zlib.crc32(picture))
    plan = (
        broken_request(picture, service.port, rng, broken)
        if broken
        else whole_request(picture, service.port)
    )
    said = exchange(service.port, plan)
    assert service.is_emptied(), "an upload is left behind"
    assert not service.defects, service.defects.pop()
    if not said:
        assert plan.silence, f"{plan.fault}: no answer"
        return f"{plan.fault}: no answer, and none is due"
    status, answer = check_answer(said, room)
    assert status in plan.statuses, f"{plan.fault}: {status} {answer.get('error', 'scored')}"
    if status == 200:
        (record,) = answer["files"]
        assert "/" not in record["path"]
        return f"{plan.fault}: scored, {record['reason'] or 'used'}"
    return f"{plan.fault}: {status} {answer['error']}"


def check_answer(said: bytes, room: pathlib.Path) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer that has all headers and names no place of the machine."""
    from rffr_jax.web.guard import HEADERS

    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    for name, value in HEADERS.items():
        assert f"{name}: {value}".lower() in lines, f"no header {name}"
    length = next(int(line[16:]) for line in lines if line.startswith("content-length: "))
    assert os.fsencode(room) not in said
    return int(lines[0].split(" ")[1]), json.loads(body[:length])


# ---- how it is sent


def whole_request(picture: bytes, port: int) -> Plan:
    """A request without a fault."""
    body = form(picture, "a.png")
    return Plan("whole request", [head(port, len(body)) + body], (200, 400, 413, 415))


def broken_request(picture: bytes, port: int, rng: np.random.Generator, broken: Broken) -> Plan:
    """A request, two times in three without a fault of its own."""
    plan, body = whole_request(picture, port), form(picture, "a.png")
    start, end = form(b"", "a.png")[: -len(BOUNDARY) - 8], body[-len(BOUNDARY) - 8 :]
    any_status = (200, 400, 403, 404, 405, 408, 413, 415)
    match rng.choice(100):
        case n if n < 45:
            return plan
        case n if n < 60:
            return plan._replace(pieces=[head(port, None), *chunks(body, rng)])
        case n if n < 66:
            pieces = cut(plan.pieces[0], int(rng.integers(2, 8)), rng)
            return plan._replace(pieces=pieces, pause=0.01)
        case n if n < 73:
            body = form(picture, NAMES[rng.integers(len(NAMES))])
            return plan._replace(fault="odd name", pieces=[head(port, len(body)) + body])
        case n if n < 80:
            parts = (
                [broken(start, rng), picture, end] if rng.random() < 0.7 else [broken(body, rng)]
            )
            body = b"".join(parts)
            return plan._replace(fault="broken form", pieces=[head(port, len(body)) + body])
        case n if n < 84:
            sent = plan.pieces[0][: int(rng.integers(1, len(plan.pieces[0])))]
            return Plan("sender leaves", [sent], any_status, silence=True, leaves=True)
        case n if n < 86:
            more = len(body) + int(rng.integers(1, 1000))
            return Plan("length too large", [head(port, more) + body], (408,))
        case n if n < 88:
            less = int(rng.integers(len(body)))
            return plan._replace(fault="length too small", pieces=[head(port, less) + body])
        case n if n < 90:
            broken_chunks = broken(b"".join(chunks(body, rng)), rng)
            pieces = [head(port, None), broken_chunks]
            return Plan("broken chunks", pieces, any_status, silence=True)
        case n if n < 91:
            pieces = [head(port, len(body)), *cut(body, 40, rng)]
            return Plan("too slow", pieces, (200, 400, 408, 415), pause=0.02)
        case n if n < 93:
            host = HOSTS[rng.integers(len(HOSTS))]
            return Plan("foreign host", [head(port, len(body), host=host) + body], (400, 403))
        case n if n < 95:
            origin = ORIGINS[rng.integers(len(ORIGINS))].format(port=port)
            sent = head(port, len(body), f"Origin: {origin}") + body
            return Plan("foreign page", [sent], (403,))
        case n if n < 97:
            address = ADDRESSES[rng.integers(len(ADDRESSES))]
            sent = head(port, len(body), address=address) + body
            return Plan("other address", [sent], (404, 405))
        case n if n < 98:
            body = form(picture + rng.bytes(2 * MOST_BYTES), "a.png")
            pieces = [head(port, None), *chunks(body, rng)]
            return Plan("too large", pieces if n % 2 else [head(port, len(body)) + body], (413,))
        case _:
            sent = broken(head(port, len(body)), rng) + body
            return Plan("broken head", [sent], any_status, silence=True)


def head(
    port: int,
    length: int | None,
    *headers: str,
    host: str = "127.0.0.1:{port}",
    address: str = "/api/predict",
) -> bytes:
    """The head of a request; `length` None is one of chunks."""
    lines = [
        f"POST {address} HTTP/1.1",
        f"Host: {host.format(port=port)}",
        "Connection: close",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def form(picture: bytes, name: str) -> bytes:
    """A multipart body with one file."""
    field = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    start = f"--{BOUNDARY}\r\n{field}\r\nContent-Type: application/octet-stream\r\n\r\n"
    return start.encode("utf-8", "surrogateescape") + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


def cut(data: bytes, most: int, rng: np.random.Generator) -> list[bytes]:
    """Data in up to `most` pieces."""
    places = sorted({0, len(data), *map(int, rng.integers(len(data), size=most - 1))})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def chunks(body: bytes, rng: np.random.Generator) -> list[bytes]:
    """A body in chunks of HTTP."""
    pieces = cut(body, int(rng.integers(1, 30)), rng)
    return [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces] + [b"0\r\n\r\n"]


def exchange(port: int, plan: Plan) -> bytes:
    """What the server says until it closes."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        try:
            for piece in plan.pieces:
                connection.sendall(piece)
                time.sleep(plan.pause)
            if plan.leaves:
                return b""
            while more := connection.recv(65_536):
                said += more
        except ConnectionError:  # what came before counts
            said += _rest(connection)
    return said


def _rest(connection: socket.socket) -> bytes:
    said = b""
    try:
        while more := connection.recv(65_536):
            said += more
    except OSError:
        pass
    return said


# ---- what answers


class Service:
    """A server in a thread of this process, with the detector of a room in it.

    Attributes:
      port: of 127.0.0.1.
      folder: of its uploads.
      defects: what its log tells of exceptions.
    """

    def __init__(self, room: pathlib.Path):
        import uvicorn

        from rffr_jax.web.api import make_api
        from rffr_jax.web.connection import Connection
        from rffr_jax.web.multipart_file import Limits
        from rffr_jax.web.trusted_hosts import TrustedHosts
        from rffr_jax.web.upload_queue import UploadQueue

        self.folder, self.defects = room / "uploads", list[str]()
        self.folder.mkdir(exist_ok=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        uploads = UploadQueue([_scorer(room)], self.folder, 20)
        limits = Limits(MOST_BYTES, SECONDS_WITHOUT_PROGRESS)
        api = make_api(uploads, limits, TrustedHosts("127.0.0.1", self.port), {})
        settings = uvicorn.Config(
            api, http=Connection, ws="none", log_config=None, timeout_graceful_shutdown=1
        )
        self._handler = _Defects(self.defects)
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).addHandler(self._handler)
        self._server = uvicorn.Server(settings)
        sockets = {"sockets": [self._listener]}
        self._thread = threading.Thread(target=self._server.run, kwargs=sockets, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def is_emptied(self) -> bool:
        """Whether all uploads go, soon."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if not any(self.folder.iterdir()):
                return True
            time.sleep(0.002)
        return False

    def close(self):
        self._server.should_exit = True
        self._thread.join(SECONDS)
        self._listener.close()
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).removeHandler(self._handler)


class _Defects(logging.Handler):
    def __init__(self, found: list[str]):
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord):
        self._found.append(self.format(record))


@functools.cache
def service_for(room: pathlib.Path) -> Service:
    """The server of a room, which is started once and ends with the process."""
    return Service(room)


def _scorer(room: pathlib.Path) -> Any:
    """Scores in this process instead of one of its own."""
    from rffr_jax.predict.predict import detector_and_settings
    from rffr_jax.web.scoring_process import ScoringProcess, score_file

    config = runpy.run_path(os.fspath(CONFIGS / "web.py"))["get_config"]()
    config.update({"detector": os.fspath(room / "detector"), "faces": "given"})
    config.update({"darkest": 0.0, "least_sharpness": 0.0, "frames_per_video": 4})
    detector, settings = detector_and_settings(config)

    class Here(ScoringProcess):
        def __init__(self):
            self.note = ""

        def score(self, file: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
            return score_file(config, detector, settings, file, folder)

        def wait_until_ready(self): ...

        def close(self): ...

    return Here()
