"""Several processes that score beside each other, and a server that stops with uploads in it."""

import asyncio
import concurrent.futures
import contextlib
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from rffr_jax.web.refused import RefusedError
from rffr_jax.web.upload_queue import UploadQueue
from scripts import web_load
from tests import jobs
from tests.random_detectors import settings_of, write_random_detector
from tests.web.servers import Server, served
from tests.web.stand_in import StandIn, digest, png, running, talk

SECONDS = 60


async def scored(client: httpx.AsyncClient, seed: int) -> httpx.Response:
    return await client.post("/api/predict", files={"file": (f"{seed}.png", png(seed))})


def belongs(answer: httpx.Response, seed: int) -> bool:
    return answer.json()["files"] == [{"path": f"{seed}.png", "sha256": digest(png(seed))}]


async def until(condition: Callable[[], bool]):
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def test_scorers_work_at_the_same_time_and_mix_nothing_up(tmp_path):
    slow, quick = StandIn(), StandIn()
    slow.go_on.clear()

    async def conversation(client_of):
        client = await client_of()
        first = asyncio.create_task(scored(client, 0))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(scored(client, seed)) for seed in range(1, 9)]
        await until(lambda: quick.scored == 8)
        assert not first.done()
        slow.go_on.set()
        return await asyncio.gather(first, *others)

    answers = talk(tmp_path, slow, conversation, others=[quick])
    assert all(belongs(answer, seed) for seed, answer in enumerate(answers))
    assert (slow.scored, quick.scored) == (1, 8)
    assert list(tmp_path.iterdir()) == []


def test_a_scorer_that_died_gets_no_upload_before_it_is_ready(tmp_path):
    dying, healthy = StandIn(RefusedError(500, "died")), StandIn()
    dying.ready.clear()

    async def conversation(client_of):
        client = await client_of()
        first = await scored(client, 0)
        others = [await scored(client, seed) for seed in range(1, 5)]
        assert (dying.scored, healthy.scored) == (0, 4)
        dying.refusal = None
        dying.ready.set()
        await asyncio.sleep(0.1)
        healthy.go_on.clear()
        more = [asyncio.create_task(scored(client, seed)) for seed in range(5, 8)]
        await until(lambda: dying.scored >= 2)
        healthy.go_on.set()
        return first, [*others, *await asyncio.gather(*more)]

    first, others = talk(tmp_path, dying, conversation, others=[healthy])
    assert (first.status_code, first.json()) == (500, {"error": "died"})
    assert all(belongs(answer, seed) for seed, answer in enumerate(others, 1))


def test_more_scorers_are_more_places(tmp_path):
    scorers = [StandIn(), StandIn(), StandIn()]
    for scorer in scorers:
        scorer.go_on.clear()

    async def conversation(client_of):
        senders = [await client_of(f"10.0.0.{seed % 2}") for seed in range(12)]
        asked = []
        for seed, sender in enumerate(senders):
            asked.append(asyncio.create_task(scored(sender, seed)))
            await asyncio.sleep(0.02)
        for scorer in scorers:
            scorer.go_on.set()
        return await asyncio.gather(*asked)

    answers = talk(tmp_path, scorers[0], conversation, others=scorers[1:], most_waiting=4)
    assert [answer.status_code for answer in answers] == [200] * 7 + [429] * 5


def test_a_queue_closes_while_each_of_many_scorers_works(tmp_path):
    scorers = [StandIn() for _ in range(33)]  # asyncio's own threads are 32 at most
    for scorer in scorers:
        scorer.go_on.clear()
    file = tmp_path / "upload"
    file.write_bytes(png())

    async def closed() -> list[object]:
        uploads = UploadQueue(scorers, tmp_path, 0)
        asked = [asyncio.create_task(uploads.score(file, "a.png")) for _ in scorers]
        await asyncio.sleep(0.5)
        try:
            await asyncio.wait_for(uploads.close(), 30)
        finally:
            for scorer in scorers:
                scorer.go_on.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(closed())
    assert [answer.status for answer in answers if isinstance(answer, RefusedError)] == [503] * 33


# ---- a server that stops


def post(address: str, seed: int) -> httpx.Response:
    file = {"file": (f"{seed}.png", png(seed))}
    return httpx.post(f"{address}/api/predict", files=file, timeout=SECONDS)


def wait_until(condition: Callable[[], bool]):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextlib.contextmanager
def with_an_upload(tmp_path: pathlib.Path, seconds_to_stop: float = 60.0) -> Iterator[tuple]:
    """A server with an upload that its scorer does not answer yet, after a first signal."""
    scorer = StandIn()
    scorer.go_on.clear()
    with (
        running(tmp_path, scorer, seconds_to_stop=seconds_to_stop) as (port, server, thread),
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        address = f"http://127.0.0.1:{port}"
        upload = pool.submit(post, address, 0)
        wait_until(lambda: any(tmp_path.glob("*/upload")))
        server.handle_exit(signal.SIGTERM, None)
        yield address, server, thread, scorer, upload
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_stops_answers_what_it_has_and_takes_nothing_new(tmp_path):
    with with_an_upload(tmp_path) as (address, _, thread, scorer, upload):
        wait_until(lambda: httpx.get(f"{address}/api/health", timeout=SECONDS).status_code == 503)
        refused = post(address, 1)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert "takes no more files; try again later" in refused.json()["error"]
        assert not upload.done()
        assert thread.is_alive()
        scorer.go_on.set()
        assert belongs(upload.result(SECONDS), 0)
    assert scorer.scored == 1


def test_a_second_signal_refuses_what_is_not_answered(tmp_path):
    with with_an_upload(tmp_path) as (_, server, _, scorer, upload):
        server.handle_exit(signal.SIGTERM, None)
        assert upload.result(SECONDS).status_code == 503
    assert scorer.closed
    assert not scorer.scored


def test_uploads_that_take_longer_than_the_stop_are_refused(tmp_path):
    with with_an_upload(tmp_path, seconds_to_stop=1.0) as (_, _, _, scorer, upload):
        answer = upload.result(SECONDS)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
    assert not scorer.scored


# ---- real processes


@pytest.fixture(scope="module")
def random_detector(tmp_path_factory):
    return write_random_detector(tmp_path_factory.mktemp("detector") / "model", settings_of())


@pytest.fixture
def two_scorers(tmp_path, random_detector) -> Iterator[Server]:
    flags = (*jobs.GIVEN, f"detector={random_detector}", "scorers=2")
    with served(tmp_path / "run", *flags) as server:
        assert len(server.scorers()) == 2
        yield server


def signalled(pids: list[int], number: int):
    for pid in pids:
        os.kill(pid, number)


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    stat = pathlib.Path(f"/proc/{pid}/stat")
    return stat.exists() and ") Z " not in stat.read_text()


def assert_ended_well(server: Server, scorers: list[int]):
    assert server.ended() == 0
    assert not [pid for pid in scorers if is_there(pid)]
    assert [entry.name for entry in server.workdir.iterdir()] == [".lock"]
    said = "".join(server.lines)
    assert not [word for word in ("Traceback", "Warning", "leaked") if word in said], said


@pytest.mark.slow
def test_one_of_two_scorers_dies_and_only_its_upload_fails(two_scorers):
    scorers = two_scorers.scorers()
    signalled(scorers, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(post, two_scorers.address, seed) for seed in range(2)]
        uploads = two_scorers.workdir / "rffr_jax_uploads"
        wait_until(lambda: len(list(uploads.iterdir())) == 4)  # each has a folder and its scorer's
        os.kill(scorers[0], signal.SIGKILL)
        os.kill(scorers[1], signal.SIGCONT)
        answers = [one.result(SECONDS) for one in asked]
    assert sorted(answer.status_code for answer in answers) == [200, 500]
    assert [answer.json()["error"] for answer in answers if answer.status_code == 500] == [
        "the scoring process died on this file"
    ]
    for seed in range(4):
        (record,) = post(two_scorers.address, seed).json()["files"]
        assert (record["path"], record["sha256"]) == (f"{seed}.png", digest(png(seed)))
    wait_until(lambda: len(two_scorers.scorers()) == 2)
    scorers = two_scorers.scorers()
    assert two_scorers.end() == 0
    assert_ended_well(two_scorers, scorers)


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_a_stopped_server_leaves_nothing(two_scorers, signals):
    scorers = two_scorers.scorers()
    signalled(scorers, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(post, two_scorers.address, seed) for seed in range(3)]
        uploads = two_scorers.workdir / "rffr_jax_uploads"
        wait_until(lambda: len(list(uploads.glob("*/upload"))) == 3)
        signalled([two_scorers.process.pid, *scorers], signal.SIGTERM)  # as systemd does
        health = f"{two_scorers.address}/api/health"
        wait_until(lambda: httpx.get(health, timeout=SECONDS).status_code == 503)
        assert post(two_scorers.address, 9).status_code == 503
        if signals == 2:
            two_scorers.process.send_signal(signal.SIGTERM)
        else:
            signalled(scorers, signal.SIGCONT)
        answers = [one.result(SECONDS) for one in asked]
    assert [answer.status_code for answer in answers] == [200 if signals == 1 else 503] * 3
    for seed, answer in enumerate(answers):
        if signals == 1:
            assert answer.json()["files"][0]["sha256"] == digest(png(seed))
    assert_ended_well(two_scorers, scorers)


@pytest.mark.slow
def test_a_signal_while_the_detector_is_loaded_leaves_nothing(tmp_path, random_detector):
    server = Server(tmp_path / "run", ("port=0", f"detector={random_detector}", "scorers=2"))
    try:
        wait_until(lambda: len(server.scorers()) == 2)
        scorers = server.scorers()
        server.process.send_signal(signal.SIGTERM)
        assert_ended_well(server, scorers)
    finally:
        server.close()


@pytest.mark.slow
def test_a_crowd_is_answered_by_two_scorers(two_scorers, capsys):
    load = ["--url", two_scorers.address, "--uploads", "12", "--clients", "4"]
    assert web_load.main(load) == 0
    assert "| answered | 12 |" in capsys.readouterr().out
