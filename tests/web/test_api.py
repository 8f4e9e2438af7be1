"""The HTTP API before a stand-in for the process that scores."""

import asyncio
import io
import json

import pytest
from PIL import Image

from rffr_jax.web.refused import RefusedError
from rffr_jax.web.samples import PHOTOGRAPH, sample_titles
from rffr_jax.web.scoring_process import hide_paths
from rffr_jax.web.upload_queue import base_name, sender_network
from tests.web.stand_in import FORM, MOST_BYTES, TERMS, StandIn, digest, form, png, talk


def post(folder, data: bytes, name: str = "face.png", scorer: StandIn | None = None, field="file"):
    async def sent(client_of):
        client = await client_of()
        return await client.post("/api/predict", files={field: (name, data)})

    return talk(folder, scorer or StandIn(), sent)


def post_body(folder, body, headers=FORM, **settings):
    async def sent(client_of):
        return await (await client_of()).post("/api/predict", content=body, headers=headers)

    return talk(folder, StandIn(), sent, **settings)


def test_an_answer_is_of_the_file_that_was_sent(tmp_path):
    answer = post(tmp_path, png())
    assert answer.status_code == 200
    assert answer.json()["files"] == [{"path": "face.png", "sha256": digest(png())}]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", 400, "the file is empty"),
        (b"no picture", 415, "not an image or a video"),
        (b"GIF89a" + bytes(50), 415, "GIF pictures are not read"),
        (png() + bytes(MOST_BYTES), 413, "larger than 0.1 megabytes"),
        (bytes(2 * MOST_BYTES), 413, "larger than 0.1 megabytes"),
    ],
)
def test_files_that_are_refused(tmp_path, data, status, reason):
    answer = post(tmp_path, data, "photo.jpg")
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert list(tmp_path.iterdir()) == []


def test_a_request_of_no_known_length_is_stopped_while_it_is_read(tmp_path):
    read = []

    async def endless():
        yield form(b"")[:-8]
        for number in range(1000):
            read.append(number)
            yield bytes(10_000)

    answer = post_body(tmp_path, endless())
    assert answer.status_code == 413
    assert answer.headers["Connection"] == "close"
    assert len(read) < 130  # what is refused and a megabyte more
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_stands_still_is_refused(tmp_path):
    async def slow():
        yield form(png())[:100]
        await asyncio.sleep(30)
        yield b""

    answer = post_body(tmp_path, slow(), seconds=0.2)
    assert answer.status_code == 408
    assert list(tmp_path.iterdir()) == []


def test_an_upload_of_a_byte_now_and_then_makes_no_progress(tmp_path):
    async def dripping():
        for byte in form(png()):
            yield bytes([byte])
            await asyncio.sleep(0.02)

    assert post_body(tmp_path, dripping(), seconds=0.2).status_code == 408


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"",
        form(png())[:-10],
        form(png())[:60],
        b"--b--\r\n",
        form(png(), 'name="other"; filename="a.png"'),
        form(png(), 'name="file"'),
        form(png(), 'filename="a.png"'),
        form(png())[:-8] + b"\r\n" + form(png()),
        form(png())[:-8] + b"\r\n" + form(b"/etc/passwd", 'name="path"'),
        form(png(), f'name="file"; filename="{"a" * 20_000}"'),
        form(png(), 'name="file"; filename="a"\r\n' + "X: y\r\n" * 100_000),
    ],
)
def test_forms_that_are_not_one_file(tmp_path, body):
    answer = post_body(tmp_path, body)
    assert answer.status_code in (400, 413)
    assert set(answer.json()) == {"error"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data",
        "multipart/mixed; boundary=b",
        f"multipart/form-data; boundary={'b' * 1000}",
    ],
)
def test_bodies_that_are_no_form(tmp_path, kind):
    headers = {"Content-Type": kind} if kind else {}
    assert post_body(tmp_path, form(png()), headers).status_code == 400


def test_addresses_that_are_not_there(tmp_path):
    async def asked(client_of):
        client = await client_of()
        return [
            (await client.get("/api/nothing")).status_code,
            (await client.get("/api/predict")).status_code,
            (await client.get("/api/health/")).status_code,
        ]

    assert talk(tmp_path, StandIn(), asked) == [404, 405, 404]


@pytest.mark.parametrize("status", [500, 503, 504])
def test_refusals_of_the_process_are_told(tmp_path, status):
    answer = post(tmp_path, png(), scorer=StandIn(RefusedError(status, "why")))
    assert (answer.status_code, answer.json()) == (status, {"error": "why"})


def test_a_defect_is_one_line_without_a_path(tmp_path):
    answer = post(tmp_path, png(), scorer=StandIn(KeyError(str(tmp_path))))
    assert answer.status_code == 500
    assert answer.json() == {"error": "a defect of the server; its log says more"}


async def crowded(scorer, client_of, senders):
    """The answers to one upload of each sender, all at the same time."""
    scorer.go_on.clear()
    asked = []
    for seed, sender in enumerate(senders):
        sent = (await client_of(sender)).post("/api/predict", files={"file": ("x", png(seed))})
        asked.append(asyncio.create_task(sent))
        await asyncio.sleep(0.02)
    scorer.go_on.set()
    return await asyncio.gather(*asked)


def test_so_many_wait_and_no_more(tmp_path):
    scorer = StandIn()
    senders = [f"10.0.0.{number}" for number in range(9)]
    answers = talk(
        tmp_path, scorer, lambda client_of: crowded(scorer, client_of, senders), most_waiting=3
    )
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 5
    for seed, answer in enumerate(answers):
        if answer.status_code == 200:
            assert answer.json()["files"][0]["sha256"] == digest(png(seed))
        else:
            assert int(answer.headers["Retry-After"]) > 0
    assert post(tmp_path, png()).status_code == 200


def test_one_sender_does_not_fill_the_queue(tmp_path):
    scorer = StandIn()
    senders = ["10.0.0.1"] * 9 + ["10.0.0.2"]

    async def twice(client_of):
        first = await crowded(scorer, client_of, senders)
        return first, await crowded(scorer, client_of, senders)

    for answers in talk(tmp_path, scorer, twice, most_waiting=10):
        assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 3 + [200]
        assert "your address" in answers[8].json()["error"]


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("", ""),
    ],
)
def test_addresses_of_one_network_are_one_sender(address, sender):
    assert sender_network(address) == sender


def test_health_says_what_must_be_said(tmp_path):
    async def asked(client_of):
        return await (await client_of()).get("/api/health")

    answer = talk(tmp_path, StandIn(), asked)
    assert answer.json() == {
        "status": "ready",
        "note": StandIn.note,
        "most_bytes": MOST_BYTES,
        **TERMS,
        "samples": sample_titles(),
    }


@pytest.mark.parametrize("name", sample_titles())
def test_samples_are_pictures(tmp_path, name):
    async def asked(client_of):
        return await (await client_of()).get(f"/samples/{name}")

    answer = talk(tmp_path, StandIn(), asked)
    assert answer.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert min(picture.size) >= 384


@pytest.mark.parametrize("name", ["nothing.png", "..%2Fpage.html", "%2Fetc%2Fpasswd"])
def test_other_samples_are_not_there(tmp_path, name):
    async def asked(client_of):
        return await (await client_of()).get(f"/samples/{name}")

    assert talk(tmp_path, StandIn(), asked).status_code == 404


def test_a_photograph_is_offered_only_where_it_is_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert PHOTOGRAPH not in sample_titles()


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\me.jpg", "me.jpg"),
        ("a/b/", "b"),
        ("", "upload"),
        ("/", "upload"),
        ("\udcff.png", "?.png"),
    ],
)
def test_names_lose_their_folders(name, last):
    assert base_name(name) == last


def test_places_of_files_are_not_told():
    about = {
        "command": "python --workdir=/home/me",
        "detector": {"path": "/home/me/runs/detect", "digest": "d"},
        "preprocessing": {"k": 4, "faces": {"weights": "/home/me/w.onnx"}},
        "chosen_on": ["csv:/home/me/ff.csv#val", "faces"],
        "residual_reference": {"data": ["csv:/home/me/ff.csv#val"], "faces": 30},
    }
    said = hide_paths(about)
    assert "/home" not in json.dumps(said)
    assert said["detector"] == {"path": "detect", "digest": "d"}
    assert said["chosen_on"] == ["ff.csv#val", "faces"]
    assert said["residual_reference"] == {"data": ["ff.csv#val"], "faces": 30}
    about["residual_reference"] = None
    assert hide_paths(about)["residual_reference"] is None
