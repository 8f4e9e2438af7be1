"""The load on the web page: each kind of outcome is seen and counted."""

import hashlib
import http.server
import pathlib
import socket
import subprocess
import sys
import threading
import time
from typing import ClassVar

import httpx
import pytest

from rffr_jax.web import api
from rffr_jax.web.refused import RefusedError
from scripts import web_load
from scripts.web_load import picture
from tests.web.stand_in import StandIn, listening


@pytest.fixture
def loaded(tmp_path, monkeypatch, capsys):
    """The exit code and the table of the script, on a server with a given scorer."""
    monkeypatch.setattr(api, "SECONDS_TO_RETRY", 0)
    monkeypatch.setattr(web_load, "SIZE", 96)

    def run(scorer: StandIn, *flags: str) -> tuple[int, dict[str, str]]:
        with listening(tmp_path, scorer) as port:
            url = f"http://127.0.0.1:{port}"
            code = web_load.main(["--url", url, "--uploads", "10", "--clients", "3", *flags])
        rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
        return code, dict(rows)

    web_load._face.cache_clear()
    yield run
    web_load._face.cache_clear()


def test_every_upload_has_its_own_answer(loaded):
    code, table = loaded(StandIn())
    assert code == 0
    assert [table[name] for name in ("answered", "lost", "mixed up", "sent again")] == [
        *("10", "0", "0", "0")
    ]
    assert table["uploads"].startswith("10 in ")


def test_no_two_uploads_are_equal():
    digests = {hashlib.sha256(picture(number)).hexdigest() for number in (0, 1, 8, 16, 264, 4000)}
    assert len(digests) == 6


class Forgetful(StandIn):
    """Answers every upload but the first with the answer to the first."""

    first: dict | None = None

    def score(self, file: pathlib.Path, folder: pathlib.Path):
        answer = super().score(file, folder)
        self.first = self.first or dict(answer["files"][0])
        return {"files": [dict(self.first)]}


def test_answers_that_are_mixed_up_are_seen(loaded):
    code, table = loaded(Forgetful())
    assert code == 1
    assert (table["answered"], table["mixed up"], table["lost"]) == ("1", "9", "0")
    assert any("sha256 of upload" in reason for reason in table.values())


class Busy(StandIn):
    """Refuses every other upload for now."""

    asked = 0

    def score(self, file: pathlib.Path, folder: pathlib.Path):
        self.asked += 1
        if self.asked % 2:
            raise RefusedError(429, "busy")
        return super().score(file, folder)


def test_what_is_refused_for_now_is_sent_again(loaded):
    code, table = loaded(Busy())
    assert code == 0
    assert (table["answered"], table["refused for now"], table["sent again"]) == ("10", "10", "10")


def test_what_is_refused_to_the_end_is_lost(loaded):
    code, table = loaded(StandIn(RefusedError(503, "never")), "--seconds", "0.5")
    assert code == 1
    assert table["lost"] == "10"


def test_failures_are_lost_with_their_reason(loaded):
    code, table = loaded(StandIn(RefusedError(500, "died")))
    assert code == 1
    assert table["lost"] == "10"
    assert table["10 x"] == "status 500: died"
    assert "p50, p95 until the answer" not in table


class Answers(http.server.BaseHTTPRequestHandler):
    """Any page: health is well, and every upload is answered with `uploads`."""

    uploads: ClassVar[tuple[int, bytes, dict[str, str]]] = (200, b"", {})

    def do_GET(self):
        self.answer(200, b"{}", {})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(*self.uploads)

    def answer(self, status: int, body: bytes, headers: dict[str, str]):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object): ...


@pytest.fixture
def outcome_of(monkeypatch):
    """What becomes of an upload that is answered in some way."""
    monkeypatch.setattr(web_load, "SIZE", 96)

    def run(seconds: float, *uploads) -> web_load.Outcome:
        monkeypatch.setattr(Answers, "uploads", uploads)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as page:
            thread = threading.Thread(target=page.serve_forever)
            thread.start()
            try:
                (outcome,) = web_load.send_all(
                    f"http://127.0.0.1:{page.server_port}", 1, 1, seconds
                )
            finally:
                page.shutdown()
                thread.join()
        return outcome

    web_load._face.cache_clear()
    yield run
    web_load._face.cache_clear()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"[1]", "status 200 with JSON that is no object"),
        (503, b'"busy"', "status 503 with JSON that is no object"),
        (200, b"{}", "status 200 without the record of one file"),
        (200, b'{"files": []}', "status 200 without the record of one file"),
        (200, b'{"files": [[]]}', "status 200 without the record of one file"),
        (200, b"<html>", "status 200 without JSON"),
    ],
)
def test_answers_of_another_shape_are_lost(outcome_of, status, body, reason):
    outcome = outcome_of(60, status, body, {})
    assert (outcome.kind, outcome.reason) == (web_load.LOST, reason)


@pytest.mark.parametrize("named", ["3600", "Wed, 21 Oct 2037 07:28:00 GMT"])
def test_no_wait_outlasts_the_time(outcome_of, named):
    outcome = outcome_of(1.5, 429, b"{}", {"Retry-After": named})
    assert (outcome.kind, outcome.reason) == (web_load.LOST, "refused until the time was over")


class Silent(StandIn):
    """Does not answer before `go_on` is set."""

    def __init__(self):
        super().__init__()
        self.go_on.clear()


def test_an_answer_that_does_not_come_is_not_waited_for_longer(tmp_path, monkeypatch):
    """The time that is left is less than the client's own limit."""
    monkeypatch.setattr(web_load, "SIZE", 96)
    web_load._face.cache_clear()
    scorer = Silent()
    with listening(tmp_path, scorer) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=50) as client:
            outcome = web_load.send(client, 0, time.monotonic() + 1)
        assert outcome.reason.startswith("ReadTimeout")
        scorer.go_on.set()
    web_load._face.cache_clear()


@pytest.mark.parametrize("flags", [("--uploads", "0"), ("--clients", "x"), ("--seconds", "0")])
def test_wrong_numbers_are_told_in_one_line(flags, capsys):
    assert web_load.main(["--url", "http://127.0.0.1:1", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert flags[0] in line


def test_a_page_that_is_not_there_is_told_in_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert web_load.main(["--url", f"http://127.0.0.1:{port}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no page can be loaded there" in line


@pytest.mark.parametrize(
    "url",
    ["anna:secret@127.0.0.1", "http://anna:secret", "http://anna:secret@", "//anna:secret@here"],
)
def test_an_address_that_is_none_is_told_without_its_password(url, capsys):
    assert web_load.main(["--url", url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--url is no address" in line
    assert "secret" not in line


@pytest.mark.parametrize("there", [True, False])
def test_no_message_has_the_password(tmp_path, there, capsys):
    with listening(tmp_path, StandIn()) as port:
        address = f"127.0.0.1:{port}/nothing" if there else "127.0.0.1:1"
        assert web_load.main(["--url", f"http://anna:secret@{address}"]) == 2
    said = capsys.readouterr().err
    assert f"--url=http://{address}" in said
    assert "anna" not in said
    assert "secret" not in said


def test_the_login_of_the_address_is_sent():
    page, login = web_load.split_login("https://anna:a%40b@here:1/page")
    assert (str(page), login) == ("https://here:1/page", ("anna", "a@b"))
    assert web_load.split_login("http://here")[1] is None


def test_the_program_takes_an_address(tmp_path):
    with listening(tmp_path, StandIn()) as port:
        command = [sys.executable, "-m", "scripts.web_load", "--url", f"http://127.0.0.1:{port}"]
        done = subprocess.run(
            [*command, "--uploads", "2"],
            cwd=pathlib.Path(web_load.__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 1, done.stderr
    assert "| 2 x | status 413: " in done.stdout  # the stand-in takes smaller files only
