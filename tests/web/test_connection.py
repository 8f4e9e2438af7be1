"""Limits of requests over a real connection, whose senders do not keep to them."""

import contextlib
import http.client
import json
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from rffr_jax.web import connection
from rffr_jax.web.guard import HEADERS, MOST_BYTES_DRAINED, SECONDS_DRAINED
from tests.web.stand_in import FORM, MOST_BYTES, StandIn, digest, form, listening, png, running

SECONDS = 20.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def port(folder) -> Iterator[int]:
    with listening(folder, StandIn(), seconds=0.5) as port:
        yield port


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sender:
        yield sender


def head(port: int, *headers: str) -> bytes:
    lines = ["POST /api/predict HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"Content-Type: {FORM['Content-Type']}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(sender: socket.socket) -> tuple[int, dict]:
    """Status and JSON of an answer after which the server closes, without a reset."""
    said = b""
    while more := sender.recv(65_536):
        said += more
    lines, _, body = said.partition(b"\r\n\r\n")
    for name in HEADERS:
        assert lines.lower().count(f"\r\n{name}: ".lower().encode()) == 1
    return int(lines.split(b" ")[1]), json.loads(body)


def emptied(folder) -> bool:
    until = time.monotonic() + SECONDS
    while any(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(folder.iterdir())


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_is_too_large_is_answered_and_not_cut_off(port, folder, known):
    body = form(bytes(MOST_BYTES + 700_000))
    with connected(port) as sender:
        if known:
            sender.sendall(head(port, f"Content-Length: {len(body)}"))
            sender.sendall(body)
        else:
            sender.sendall(head(port, "Transfer-Encoding: chunked"))
            sender.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
        status, said = answer(sender)
    assert (status, said) == (413, {"error": "the file is larger than 0.1 megabytes"})
    assert emptied(folder)


def test_a_refused_sender_is_not_listened_to_for_ever(port, folder):
    begun, sent = time.monotonic(), 0
    with connected(port) as sender, contextlib.suppress(OSError):
        sender.sendall(head(port, f"Content-Length: {10**12}"))
        while sent < 10**9:
            sent += sender.send(bytes(100_000))
    assert sent < MOST_BYTES_DRAINED + 30 * 10**6  # what the sockets hold besides
    with connected(port) as sender:
        sender.sendall(head(port, f"Content-Length: {10**12}"))
        status, _ = answer(sender)
    assert status == 413
    assert time.monotonic() - begun < SECONDS_DRAINED + 5
    assert emptied(folder)


def test_a_refused_file_is_not_asked_for(port):
    with connected(port) as sender:
        sender.sendall(head(port, f"Content-Length: {10**9}", "Expect: 100-continue"))
        assert sender.recv(12) == b"HTTP/1.1 413"


def test_an_upload_that_stands_still_is_told(port, folder):
    body = form(png())
    with connected(port) as sender:
        sender.sendall(head(port, f"Content-Length: {len(body)}") + body[:300])
        status, said = answer(sender)
    assert status == 408
    assert "slowly" in said["error"]
    assert emptied(folder)


def test_a_sender_that_leaves_gives_its_place_back(port, folder):
    for _ in range(30):  # more than there are places
        with connected(port) as sender:
            sender.sendall(head(port, "Content-Length: 5000") + form(png())[:200])
    assert emptied(folder)
    test_a_file_in_pieces_of_a_chunked_body(port, folder)


def test_a_file_in_pieces_of_a_chunked_body(port, folder):
    body = form(png())
    with connected(port) as sender:
        sender.sendall(head(port, "Transfer-Encoding: chunked", "Connection: close"))
        for start in range(0, len(body), 700):
            piece = body[start : start + 700]
            sender.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        sender.sendall(b"0\r\n\r\n")
        status, said = answer(sender)
    assert status == 200
    assert said["files"][0]["sha256"] == digest(png())
    assert emptied(folder)


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n", b"-1\r\n", b"fffffffffffffffffffff\r\n", b"5\r\nabc\r\n0"]
)
def test_chunks_that_are_none(port, folder, chunk):
    with connected(port) as sender:
        sender.sendall(head(port, "Transfer-Encoding: chunked") + chunk)
        status, _ = answer(sender)
    assert status in (400, 408)
    assert emptied(folder)


def test_a_broken_chunk_after_a_refusal_ends_the_connection(port):
    with connected(port) as sender:
        sender.sendall(head(port, "Transfer-Encoding: chunked", "Origin: http://evil.org"))
        assert sender.recv(12) == b"HTTP/1.1 403"
        sender.sendall(b"zz\r\n")
        with contextlib.suppress(ConnectionResetError):
            while sender.recv(65_536):
                pass


def test_a_broken_chunk_before_the_answer_is_the_answer(port):
    with connected(port) as sender:
        headers = ("Transfer-Encoding: chunked", "Origin: http://evil.org")
        sender.sendall(head(port, *headers) + b"zz\r\n")
        assert answer(sender) == (400, {"error": "this is no HTTP request"})


def test_requests_that_do_not_come_are_given_up(port, monkeypatch):
    monkeypatch.setattr(connection, "SECONDS_FOR_HEAD", 0.3)
    begun = time.monotonic()
    for start in (b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"):
        with connected(port) as sender:
            sender.sendall(start)
            assert sender.recv(10) == b""
    with connected(port) as sender, contextlib.suppress(OSError):
        sender.sendall(b"GET / HTTP/1.1\r\n")
        while time.monotonic() - begun < 5:
            sender.sendall(b"X: y\r\n")
            time.sleep(0.02)
    assert time.monotonic() - begun < 5


def test_a_connection_serves_one_request_after_another(port, monkeypatch):
    monkeypatch.setattr(connection, "SECONDS_FOR_HEAD", 1.0)
    ask = f"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    with connected(port) as sender:
        for _ in range(4):
            sender.sendall(ask[:20])
            time.sleep(0.2)
            sender.sendall(ask[20:])
            with http.client.HTTPResponse(sender) as response:
                response.begin()
                response.read()
            assert response.status == 200
            time.sleep(0.2)


@pytest.mark.parametrize(("signals", "seconds_to_stop"), [(2, 60.0), (1, 0.5)])
def test_half_an_upload_is_refused_when_the_server_ends(tmp_path, signals, seconds_to_stop):
    half = form(png())[:500]
    with (
        running(tmp_path, StandIn(), SECONDS, seconds_to_stop) as (port, server, thread),
        connected(port) as sender,
    ):
        sender.sendall(head(port, "Content-Length: 5000") + half)
        until = time.monotonic() + SECONDS
        while not any(tmp_path.glob("*/upload")):
            assert time.monotonic() < until
            time.sleep(0.01)
        for _ in range(signals):
            server.handle_exit(signal.SIGTERM, None)
        status, said = answer(sender)
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert status == 503
    assert "try again later" in said["error"]
    assert not any(tmp_path.iterdir())


class LongAnswer(StandIn):
    """Answers with more than the buffers of two sockets hold."""

    def score(self, file, folder):
        return super().score(file, folder) | {"pictures": "A" * 20_000_000}


def test_an_answer_that_is_not_taken_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "SECONDS_FOR_ANSWER", 0.3)
    body = form(png())
    with running(tmp_path, LongAnswer()) as (port, server, _), connected(port) as sender:
        sender.sendall(head(port, f"Content-Length: {len(body)}") + body)
        assert sender.recv(12) == b"HTTP/1.1 200"
        until = time.monotonic() + SECONDS
        while server.server_state.connections:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_an_answer_that_is_taken_slowly_comes_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "SECONDS_FOR_ANSWER", 0.05)
    monkeypatch.setattr(connection, "BYTES_OF_ANSWER", 0)
    body = form(png())
    with running(tmp_path, LongAnswer()) as (port, _, _), connected(port) as sender:
        headers = (f"Content-Length: {len(body)}", "Connection: close")
        sender.sendall(head(port, *headers) + body)
        time.sleep(0.3)
        status, said = answer(sender)
    assert status == 200
    assert len(said["pictures"]) == 20_000_000
