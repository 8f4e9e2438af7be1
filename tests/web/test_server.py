"""A real server: files of all kinds, many at once, a process that hangs, a clean end."""

import concurrent.futures
import hashlib
import io
import os
import re
import signal
import socket
import struct
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image

from rffr_jax.web import serve
from rffr_jax.web.serve import UPLOADS
from tests import jobs
from tests.faces.movies import face_frames, write_movie
from tests.web.servers import served

SECONDS = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory, detector):
    folder = tmp_path_factory.mktemp("web")
    flags = (*jobs.GIVEN, f"detector={detector}", "seconds_per_file=20", "frames_per_video=4")
    with served(folder / "run", *flags, "most_megabytes=3") as running:
        yield running


def post(server, data: bytes, name: str = "face.png") -> httpx.Response:
    answer = httpx.post(f"{server.address}/api/predict", files={"file": (name, data)},
                        timeout=SECONDS)  # fmt: skip
    assert "Traceback" not in answer.text
    for place in ("/tmp", "/root", "/home", "rffr_jax/", "site-packages"):
        assert place not in answer.text.split('"peaks"')[0]
    return answer


def png_of(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(rows, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


@pytest.mark.slow
def test_a_photograph_has_the_record_of_predict(server, tmp_path, detector, faces):
    file = faces / "test/rows0.png"
    expected = jobs.predict(tmp_path, detector, file, *jobs.GIVEN)
    answer = post(server, file.read_bytes(), "../../etc/passwd")
    assert answer.status_code == 200
    said = answer.json()
    (record,), (wanted,) = said["files"], expected["files"]
    assert record["path"] == "passwd"
    assert record["score"] == pytest.approx(wanted["score"], abs=2e-6)
    (face,) = record["faces"]
    assert face["evidence"].startswith("data:image/png;base64,iVBOR")
    assert set(said) == set(expected) - {"left_out"}  # of folders
    assert set(record) == set(wanted)
    assert set(face) == {*wanted["faces"][0], "views", "heat_scale"}
    pictures = [view["picture"] for view in face["views"]]
    assert all(one.startswith("data:image/png;base64,iVBOR") for one in pictures)
    for name in ("thresholds", "calibrations", "note", "versions", "counts"):
        assert said[name] == expected[name]
    assert said["detector"]["digest"] == expected["detector"]["digest"]
    assert said["detector"]["path"] == detector.name


@pytest.mark.slow
def test_a_video_has_scores_in_time(server, tmp_path):
    path = write_movie(tmp_path / "walk.mp4", face_frames(0, 12, 64))
    answer = post(server, path.read_bytes(), "walk.mp4")
    assert answer.status_code == 200
    (record,) = answer.json()["files"]
    assert record["source"]["kind"] == "video"
    frames = record["faces"][0]["frames"]
    assert len(frames) == 4
    assert all(frame["picture"].startswith("data:image/jpeg;base64,") for frame in frames)
    cut = post(server, path.read_bytes()[: path.stat().st_size // 2], "cut.mp4")
    assert cut.status_code == 200
    assert cut.json()["files"][0]["status"] == "unknown"
    assert cut.json()["files"][0]["reason"].startswith("unreadable")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"just text", 415, "not an image or a video"),
        (b"GIF89a" + bytes(100), 415, "GIF"),
        (b"", 400, "empty"),
        (bytes(5_000_000), 413, "larger than 3 megabytes"),
    ],
)
def test_files_that_are_refused(server, content, status, reason):
    answer = post(server, content, "photo.jpg")
    assert answer.status_code == status
    assert reason in answer.json()["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        png_of(60_000, 60_000, bytes(1000)),  # says much and holds little
        png_of(10_000, 10_000, bytes(10_000 * 30_001)),  # 100 megapixels in 300 kB
        png_of(20, 20, bytes(100_000_000)),  # more behind it than its size
        b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4,
    ],
    ids=["bomb", "large", "behind", "corrupt"],
)
def test_hostile_pictures_do_no_harm(server, content):
    answer = post(server, content, "photo.png")
    assert answer.status_code in (200, 504)
    if answer.status_code == 200:
        (record,) = answer.json()["files"]
        assert record["score"] is not None or record["reason"]
    assert httpx.get(f"{server.address}/api/health", timeout=SECONDS).status_code == 200


def drawn(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def sent_from(server, sender: str, data: bytes) -> httpx.Response:
    transport = httpx.HTTPTransport(local_address=sender)
    with httpx.Client(transport=transport, timeout=SECONDS) as client:
        return client.post(f"{server.address}/api/predict", files={"file": ("face.png", data)})


@pytest.mark.slow
def test_fifty_uploads_at_once(server):
    senders = [f"127.0.0.{2 + seed % 3}" for seed in range(50)]
    with concurrent.futures.ThreadPoolExecutor(50) as crowd:
        asked = [
            crowd.submit(sent_from, server, sender, drawn(seed))
            for seed, sender in enumerate(senders)
        ]
        answers = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert sum(answer.status_code == 200 for answer in answers) >= 20
    for seed, answer in enumerate(answers):
        if answer.status_code == 200:
            (record,) = answer.json()["files"]
            assert record["sha256"] == hashlib.sha256(drawn(seed)).hexdigest()


@pytest.mark.slow
def test_a_process_that_hangs_or_dies_is_replaced(server):
    (scorer,) = server.scorers()
    os.kill(scorer, signal.SIGSTOP)
    assert post(server, drawn(0)).status_code == 504
    assert post(server, drawn(0)).status_code == 200
    (scorer,) = server.scorers()
    os.kill(scorer, signal.SIGKILL)
    assert post(server, drawn(0)).status_code == 500
    assert post(server, drawn(0)).status_code == 200


@pytest.mark.slow
def test_the_page_fetches_only_from_the_server(server):
    for address in ("/", "/page.css", "/page.js"):
        answer = httpx.get(server.address + address, timeout=SECONDS)
        assert answer.status_code == 200
        assert set(re.findall(r"https?://[^/\"\s]+", answer.text)) <= {"http://www.w3.org"}
        assert "innerHTML" not in answer.text
        assert not re.search(r"<style|\sstyle=|<script>|\son\w+=", answer.text)


@pytest.mark.slow
def test_stopped_by_a_signal_it_leaves_nothing(tmp_path, detector):
    uploads = tmp_path / "run" / UPLOADS
    uploads.mkdir(parents=True)
    (uploads / "left").write_bytes(drawn(1))  # by a server that was killed
    with served(tmp_path / "run", *jobs.GIVEN, f"detector={detector}") as running:
        assert f"rffr_jax: the detector is {detector}\n" in running.lines
        assert post(running, drawn(0)).status_code == 200
        assert list(uploads.iterdir()) == []
        assert uploads.stat().st_mode & 0o777 == 0o700
        assert running.end() == 0
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == [".lock"]
    assert not {"Traceback", "Warning", "leaked"} & set(re.split(r"\W+", "".join(running.lines)))


def test_a_folder_of_uploads_that_is_a_link_is_refused(tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").touch()
    (tmp_path / UPLOADS).symlink_to(tmp_path / "elsewhere")
    assert jobs.start("web", tmp_path, "port=0") == 2
    assert "is no folder" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "elsewhere" / "mine").exists()


def test_a_trusted_host_that_is_none_is_told_in_one_line(tmp_path, capsys):
    assert jobs.start("web", tmp_path, "port=0", "trusted_hosts=('https://a.org',)") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'https://a.org' is not the name of a host" in line


def test_more_scorers_than_cores_are_told_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(serve, "usable_cores", lambda: 4)
    assert jobs.start("web", tmp_path, "port=0", "scorers=5") == 2
    assert "scorers=5; it must not be above 4" in capsys.readouterr().err
    assert jobs.start("web", tmp_path, "port=0", "scorers=0") == 2
    assert "scorers=0; it must be 1 or more" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert jobs.start("web", tmp_path, f"port={port}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot listen on host=127.0.0.1, port={port}: " in line


def test_a_detector_that_is_none_is_told_in_one_line(tmp_path, capsys):
    assert jobs.start("web", tmp_path, "port=0", "detector=configs") == 2
    assert "detector=configs holds no checkpoint" in capsys.readouterr().err.splitlines()[-1]
