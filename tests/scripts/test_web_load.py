"""The load on the web page: each kind of outcome is seen and counted."""

import hashlib
import pathlib
import socket
import subprocess
import sys

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
