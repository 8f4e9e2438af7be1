"""The HTTP API before a stand-in for the process that scores, and with the one that does."""

import asyncio
import hashlib
import io
import json
import pathlib
import threading

import httpx
import numpy as np
import pytest
from PIL import Image

from rffr_jax.web.answer_html import answer_html, refusal_html
from rffr_jax.web.api import make_api
from rffr_jax.web.refused import RefusedError
from rffr_jax.web.scoring_process import without_paths
from rffr_jax.web.uploads import Uploads, base_name

MOST_BYTES = 100_000


class StandIn:
    """Answers with the SHA-256 of a file, when it is told to go on."""

    note = "this is for tests"

    def __init__(self, refusal: Exception | None = None):
        self.go_on = threading.Event()
        self.go_on.set()
        self.refusal = refusal

    def score(self, file: pathlib.Path, folder: pathlib.Path):
        assert folder.is_dir()
        self.go_on.wait(60)
        if self.refusal:
            raise self.refusal
        return {"files": [{"path": str(file), "sha256": digest(file.read_bytes())}]}

    def close(self): ...


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def png(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def talk(folder: pathlib.Path, scorer: StandIn, conversation, most_waiting: int = 20):
    """Runs `conversation(client)` with a client of the API."""

    async def main():
        api = make_api(Uploads(scorer, folder, most_waiting), MOST_BYTES)
        transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.wait_for(conversation(client), 60)

    return asyncio.run(main())


def post(folder, data: bytes, name: str = "face.png", scorer: StandIn | None = None, field="file"):
    return talk(
        folder,
        scorer or StandIn(),
        lambda client: client.post("/api/predict", files={field: (name, data)}),
    )


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
        head = 'Content-Disposition: form-data; name="file"; filename="x.png"'
        yield f"--b\r\n{head}\r\n\r\n".encode()
        for number in range(1000):
            read.append(number)
            yield bytes(10_000)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = talk(
        tmp_path,
        StandIn(),
        lambda client: client.post("/api/predict", content=endless(), headers=headers),
    )
    assert answer.status_code == 413
    assert len(read) < 30


def test_requests_that_are_not_understood(tmp_path):
    assert post(tmp_path, png(), field="other").status_code == 400
    plain = talk(tmp_path, StandIn(), lambda client: client.post("/api/predict", content=b"x"))
    assert plain.status_code == 400

    def two(client):
        return client.post("/api/predict", files=[("file", ("a", b"a")), ("file", ("b", b"b"))])

    assert talk(tmp_path, StandIn(), two).status_code == 400
    assert talk(tmp_path, StandIn(), lambda c: c.get("/api/nothing")).status_code == 404


@pytest.mark.parametrize("status", [500, 503, 504])
def test_refusals_of_the_process_are_told(tmp_path, status):
    answer = post(tmp_path, png(), scorer=StandIn(RefusedError(status, "why")))
    assert (answer.status_code, answer.json()) == (status, {"error": "why"})


def test_a_defect_is_one_line_without_a_path(tmp_path):
    answer = post(tmp_path, png(), scorer=StandIn(KeyError(str(tmp_path))))
    assert answer.status_code == 500
    assert answer.json() == {"error": "a defect of the server; its log says more"}


def test_so_many_wait_and_no_more(tmp_path):
    scorer = StandIn()
    scorer.go_on.clear()

    async def crowd(client):
        asked = [
            asyncio.create_task(client.post("/api/predict", files={"file": ("x", png(seed))}))
            for seed in range(9)
        ]
        while sum(task.done() for task in asked) < 5:
            await asyncio.sleep(0.01)
        scorer.go_on.set()
        return await asyncio.gather(*asked)

    answers = talk(tmp_path, scorer, crowd, most_waiting=3)
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 5
    for seed, answer in enumerate(answers):
        if answer.status_code == 200:
            assert answer.json()["files"][0]["sha256"] == digest(png(seed))
        else:
            assert int(answer.headers["Retry-After"]) > 0
    assert post(tmp_path, png()).status_code == 200


def test_health_says_what_must_be_said(tmp_path):
    answer = talk(tmp_path, StandIn(), lambda client: client.get("/api/health"))
    assert answer.json() == {"status": "ready", "note": StandIn.note}


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
        "threshold": {"chosen_on": {"data": ["csv:/home/me/ff.csv#val", "faces"], "n_real": 3}},
        "residual_reference": {"data": ["csv:/home/me/ff.csv#val"], "faces": 30},
    }
    said = without_paths(about)
    assert "/home" not in json.dumps(said)
    assert said["detector"] == {"path": "detect", "digest": "d"}
    assert said["threshold"]["chosen_on"] == {"data": ["ff.csv#val", "faces"], "n_real": 3}
    assert said["residual_reference"] == {"data": ["ff.csv#val"], "faces": 30}
    about |= {"threshold": {"chosen_on": None}, "residual_reference": None}
    assert without_paths(about)["threshold"] == {"chosen_on": None}
    assert without_paths(about)["residual_reference"] is None


def test_the_page_escapes_what_others_wrote():
    record = {
        "status": "unknown",
        "score": None,
        "reason": "<b>",
        "source": None,
        "path": "<script>",
        "faces": [],
    }
    shown = answer_html({"files": [record], "threshold": {"value": 0.5}})
    assert "<script>" not in shown
    assert "<b>" not in shown + refusal_html("<b>")
