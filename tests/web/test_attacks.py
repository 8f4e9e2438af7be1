"""What pages and programs could do to the page's predecessor: none of it touches a file."""

import os
import socket

import httpx
import pytest

from rffr_jax.web.api import FILES
from rffr_jax.web.guard import HEADERS
from tests.web.stand_in import FORM, StandIn, form, listening, png


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """A server's port, its folder, its scorer, and a file that is not the server's to touch."""
    folder, scorer = tmp_path_factory.mktemp("uploads"), StandIn()
    victim = tmp_path_factory.mktemp("home") / "victim.png"
    victim.write_bytes(png(1))
    with listening(folder, scorer) as port:
        yield port, folder, scorer, victim


@pytest.fixture
def request_of(attacked):
    """Sends a request; the victim and the server's folder must be as before."""
    port, folder, _, victim = attacked
    before = os.stat(victim)

    def sent(method: str, path: str, **settings) -> httpx.Response:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            answer = client.request(method, path, **settings)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert str(victim.parent) not in answer.text
        return answer

    yield sent
    after = os.stat(victim)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert victim.read_bytes() == png(1)
    assert list(victim.parent.iterdir()) == [victim]
    assert list(folder.iterdir()) == []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/api/health").status_code == 200


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        *("/run/predict", "/api/predict/", "/gradio_api/run/predict", "/gradio_api/run/answered"),
        *("/gradio_api/queue/join", "/queue/join", "/gradio_api/call/answered", "/call/answered"),
        *("/gradio_api/api/answered", "/api/answered", "/gradio_api/upload", "/upload"),
        *("/gradio_api/reset", "/gradio_api/component_server", "/gradio_api/process_recording"),
        "/gradio_api/stream/a/b/c",
    ],
)
def test_a_file_that_a_client_names_is_not_touched(request_of, attacked, path, is_stream):
    file = {
        "path": str(attacked[3]),
        "is_stream": is_stream,
        "orig_name": "victim.png",
        "meta": {"_type": "gradio.FileData"},
    }
    body = {"data": [file], "fn_index": 0, "session_hash": "x", "event_data": None}
    assert request_of("POST", path, json=body).status_code in (404, 405)


def test_json_is_no_upload(request_of, attacked):
    body = {"file": str(attacked[3]), "path": str(attacked[3]), "data": [{"path": "/etc/passwd"}]}
    assert request_of("POST", "/api/predict", json=body).status_code == 400
    assert request_of("POST", "/api/predict", data=body).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        *("/file={}", "/gradio_api/file={}", "/{}", "/static/{}", "/page.js/../{}", "//{}"),
        *("/..%2f..%2f..%2f{}", "/%2e%2e/%2e%2e/{}", "/page.css%00{}", "/..\\..\\{}"),
    ],
)
def test_files_of_the_machine_are_not_served(request_of, attacked, path):
    for file in (str(attacked[3]), "/etc/passwd", "../api.py"):
        answer = request_of("GET", path.format(file).replace("\\", "%5c"))
        assert answer.status_code in (400, 404)
        assert "root:" not in answer.text


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="file"; filename="{victim}"', "victim.png"),
        ('name="file"; filename="../../../{victim}"', "victim.png"),
        ('name="file"; filename="..\\..\\victim.png"', None),
        ('name="file"; filename="C:\\home\\victim.png"', None),
        ('name="file"; filename="."', "."),
        ('name="file"; filename=".."', ".."),
        ('name="file"; filename="/"', "upload"),
        ('name="file"; filename=""', "upload"),
        ('name="file"; filename="a\0/{victim}\0.png"', None),
        ('name="file"; filename="{long}"', None),
        ('name="file"; filename="../{long}"', None),
        ('name="file"; filename*=UTF-8\'\'%2e%2e%2fvictim.png; filename="x"', None),
        ('name="file"; filename="\udcff\udcfe/../\udcff.png"', None),
        ('name="file"; filename="<img src=x onerror=alert(1)>.png"', None),
        ('name="file"; filename="upload"', "upload"),
        ('name="file"; filename="|sh"', "|sh"),
    ],
)
def test_names_of_uploads_are_only_said(request_of, attacked, disposition, name):
    said = disposition.format(victim=attacked[3], long="a" * 4000)
    answer = request_of("POST", "/api/predict", content=form(png(2), said), headers=FORM)
    assert answer.status_code in (200, 400)
    if name is not None:
        assert answer.json()["files"][0]["path"] == name
    if answer.status_code == 200:
        assert "/" not in answer.json()["files"][0]["path"]


@pytest.mark.parametrize(
    "disposition",
    ['name="file"', 'name="path"', 'name="files[0]"; filename="a"', 'name="FILE"; filename="a"'],
)
def test_fields_that_are_no_file(request_of, attacked, disposition):
    body = form(str(attacked[3]).encode(), disposition)
    assert request_of("POST", "/api/predict", content=body, headers=FORM).status_code == 400


def test_two_files_are_one_too_many(request_of):
    files = [("file", ("a.png", png(1))), ("file", ("b.png", png(2)))]
    assert request_of("POST", "/api/predict", files=files).status_code == 400


def test_text_that_names_a_pipe_is_no_file(request_of, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    files = {"file": (str(tmp_path / "pipe"), str(tmp_path / "pipe").encode())}
    assert request_of("POST", "/api/predict", files=files).status_code == 415


HOSTS = (
    *("evil.org", "evil.org:{port}", "localhost", "127.0.0.1", "localhost:1", "10.0.0.1:{port}"),
    *("localhost.evil.org:{port}", "127.0.0.1.nip.io:{port}", "0.0.0.0:{port}", "127.1:{port}"),
    *("localhost:{port}@evil.org", "evil.org#localhost:{port}", "localhost:{port}:80"),
)


@pytest.mark.parametrize("host", HOSTS)
def test_other_hosts_are_refused(request_of, attacked, host):
    port, _, scorer, _ = attacked
    before = scorer.scored
    headers = {"Host": host.format(port=port)}
    for path in (*FILES, "/api/health", "/nothing"):
        assert request_of("GET", path, headers=headers).status_code == 403
    sent = request_of("POST", "/api/predict", files={"file": ("a.png", png())}, headers=headers)
    assert sent.status_code == 403
    assert "allow it with --config.trusted_hosts" in sent.json()["error"]
    assert scorer.scored == before


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_its_own_page_is_answered(request_of, attacked, host):
    own = f"{host}:{attacked[0]}"
    headers = {"Host": own, "Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}
    files = {"file": ("a.png", png())}
    assert request_of("POST", "/api/predict", files=files, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.org"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "http://127.0.0.1:{port}.evil.org"},
        {"Origin": "file://"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:{port}"},
    ],
)
def test_pages_of_other_origins_are_refused(request_of, attacked, headers):
    port, _, scorer, _ = attacked
    before = scorer.scored
    sent = {name: value.format(port=port) for name, value in headers.items()}
    answer = request_of("POST", "/api/predict", files={"file": ("a.png", png())}, headers=sent)
    assert answer.status_code == 403
    assert scorer.scored == before
    preflight = request_of("OPTIONS", "/api/predict", headers=sent)
    assert preflight.status_code == 405


def exchange(port: int, data: bytes) -> bytes:
    """What a server says until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        said = b""
        while more := connection.recv(65_536):
            said += more
    return said


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.org\r\n",
        "GET / HTTP/1.1\r\nHost : 127.0.0.1:{port}\r\n",
        "GET / HTTP/1.0\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n",
        "GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: evil.org\r\n",
        "nonsense\r\n",
        "POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: -1\r\n",
        "POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1\r\n"
        "Content-Length: 2\r\n",
    ],
)
def test_heads_that_are_no_or_another_request(attacked, head):
    said = exchange(
        attacked[0], f"{head}Connection: close\r\n\r\n".format(port=attacked[0]).encode()
    )
    status = said.split(b" ", 2)[1]
    assert status in (b"400", b"403")
    for name, value in HEADERS.items():
        assert f"{name}: {value}".lower().encode() in said.lower()
    assert b"manipulated" not in said
