"""The configuration of nginx and of systemd that docs/web.md tells to take, in real use.

Only addresses, ports and places of files are replaced. The commands that make the certificate and
the passwords are those of the page.
"""

import concurrent.futures
import contextlib
import hashlib
import http.server
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import httpx
import pytest

from configs import web
from rffr_jax.web.multipart_file import ENVELOPE, MEGABYTE
from rffr_jax.web.samples import PHOTOGRAPH, sample_picture, sample_titles
from rffr_jax.web.serve import UPLOADS
from tests import jobs
from tests.random_detectors import settings_of, write_random_detector
from tests.web.servers import Server, served

ROOT = pathlib.Path(__file__).parents[2]
SITE = (ROOT / "scripts/nginx/rffr_jax.conf").read_text()
UNIT = (ROOT / "scripts/systemd/rffr_jax.service").read_text()
PAGE = (ROOT / "docs/web.md").read_text()
NAME, LOGIN = "faces.example.org", ("anna", "correct horse")
SECONDS = 60
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(
    not NGINX or not shutil.which("openssl"), reason="nginx and openssl are not installed"
)


def setting(name: str) -> str:
    (value,) = re.findall(rf"(?m)^ *{name} (.*);$", SITE)
    return value


def test_the_limits_are_those_of_the_server():
    config = web.get_config()
    assert int(setting("client_max_body_size")) == config.most_megabytes * MEGABYTE + ENVELOPE
    assert setting("client_body_timeout") == f"{config.seconds_without_progress:g}s"
    (most_waiting,) = {*re.findall(r"most_waiting=(\d+)", SITE + UNIT)}
    assert f"--config.most_waiting={most_waiting}\n" in PAGE
    places = int(most_waiting) // 2 + config.scorers
    assert setting("proxy_read_timeout") == f"{places * config.seconds_per_file:g}s"
    assert f"larger than {config.most_megabytes:g} megabytes" in SITE
    assert SITE.count(f"proxy_pass http://{config.host}:{config.port};") == 2
    (seconds,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", UNIT)
    assert config.seconds_to_stop < int(seconds) <= config.seconds_to_stop + 30


def commands_of_page(folder: pathlib.Path) -> list[str]:
    """Those that make nginx's folder, certificate and passwords, in another folder."""
    lines = re.findall(r"(?m)^(?:mkdir|openssl|printf) .*$", PAGE)
    assert len(lines) == 3
    assert all("/etc/nginx/rffr_jax" in line for line in lines)
    return [line.replace("/etc/nginx/rffr_jax", str(folder)) for line in lines]


def replaced(text: str, *changes: tuple[str, str, int]) -> str:
    for old, new, times in changes:
        assert text.count(old) == times, old
        text = text.replace(old, new)
    return text


class Front(NamedTuple):
    """nginx before a server.

    Attributes:
      http, https: its ports.
    """

    folder: pathlib.Path
    http: int
    https: int

    def ask(
        self, method: str, path: str, login: tuple[str, str] | None = LOGIN, **settings
    ) -> httpx.Response:
        """A request through TLS, to the name of the certificate, which is checked."""
        trusted = ssl.create_default_context(cafile=str(self.folder / "etc/certificate.pem"))
        headers = {"Host": f"{NAME}:{self.https}"} | settings.pop("headers", {})
        with httpx.Client(
            base_url=f"https://127.0.0.1:{self.https}", verify=trusted, auth=login, timeout=SECONDS
        ) as client:
            extensions = {"sni_hostname": NAME}
            return client.request(method, path, headers=headers, extensions=extensions, **settings)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def https_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory, https_port) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    model = write_random_detector(folder / "model", settings_of())
    flags = (*jobs.GIVEN, f"detector={model}", f"trusted_hosts=('{NAME}:{https_port}',)")
    with served(folder / "run", *flags) as running:
        yield running


@pytest.fixture(scope="module")
def front(tmp_path_factory, server, https_port) -> Iterator[Front]:
    folder, http_port = tmp_path_factory.mktemp("nginx"), free_port()
    with nginx(folder, server.address, http_port, https_port):
        yield Front(folder, http_port, https_port)


@contextlib.contextmanager
def nginx(folder: pathlib.Path, address: str, plain: int, https: int) -> Iterator[None]:
    for line in commands_of_page(folder / "etc"):
        command = line.replace("openssl passwd -6", "openssl passwd -6 -stdin")  # no terminal here
        subprocess.run(["bash", "-ec", command], input=LOGIN[1], text=True, check=True,
                       capture_output=True, timeout=SECONDS)  # fmt: skip
    site = replaced(
        SITE,
        ("listen [::]:80;", "", 1),
        ("listen [::]:443 ssl;", "", 1),
        ("listen 80;", f"listen 127.0.0.1:{plain};", 1),
        ("listen 443 ssl;", f"listen 127.0.0.1:{https} ssl;", 1),
        ("/etc/nginx/rffr_jax/", f"{folder}/etc/", 3),
        ("http://127.0.0.1:7860", address, 2),
    )
    (folder / "site.conf").write_text(site)
    user = "user root;" if os.geteuid() == 0 else ""  # others cannot read pytest's folders
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; {places} include {folder}/site.conf; }}\n"
    )
    log = folder / "error.log"
    command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(log)]
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + SECONDS
        while not is_open(https):
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield
    finally:
        running.terminate()
        running.wait(SECONDS)


@pytest.mark.slow
@needs_nginx
@pytest.mark.parametrize("login", [None, ("anna", "wrong"), ("eve", LOGIN[1])])
def test_nothing_is_answered_without_the_login(front, login):
    for method, path in (("GET", "/"), ("GET", "/api/health"), ("POST", "/api/predict")):
        answer = front.ask(method, path, login)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.slow
@needs_nginx
def test_plain_http_leads_to_https(front):
    address = f"http://127.0.0.1:{front.http}/api/health?a=b"
    answer = httpx.get(address, headers={"Host": NAME}, timeout=SECONDS)
    assert (answer.status_code, answer.headers["Location"]) == (
        301,
        f"https://{NAME}/api/health?a=b",
    )


@pytest.mark.slow
@needs_nginx
@pytest.mark.skipif(PHOTOGRAPH not in sample_titles(), reason="scikit-image is not installed")
def test_a_photograph_is_scored_through_it(front, server):
    data = sample_picture(PHOTOGRAPH)
    headers = {"Origin": f"https://{NAME}:{front.https}", "Sec-Fetch-Site": "same-origin"}
    files = {"file": ("photograph.png", data)}
    answer = front.ask("POST", "/api/predict", files=files, headers=headers)
    assert answer.status_code == 200
    (record,) = answer.json()["files"]
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["score"] is not None
    for folder in (front.folder / "client_body", front.folder / "proxy"):
        assert list(folder.iterdir()) == []
    assert list((server.workdir / UPLOADS).iterdir()) == []


@pytest.mark.slow
@needs_nginx
def test_the_page_is_served_through_it(front):
    answer = front.ask("GET", "/")
    assert answer.status_code == 200
    assert "Content-Security-Policy" in answer.headers
    assert front.ask("GET", "/api/health").json()["status"] == "ready"


@pytest.mark.slow
@needs_nginx
def test_pages_and_names_of_others_are_refused(front):
    for headers in ({"Origin": "https://evil.org"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = front.ask("POST", "/api/predict", headers=headers, files={"file": ("a", b"a")})
        assert answer.status_code == 403
    assert front.ask("GET", "/", headers={"Host": "evil.org"}).status_code == 403


@pytest.mark.slow
@needs_nginx
def test_a_body_that_is_too_large_is_refused_before_it_is_sent(front):
    trusted = ssl.create_default_context(cafile=str(front.folder / "etc/certificate.pem"))
    most = int(setting("client_max_body_size"))
    for size, status in ((most, b"401"), (most + 1, b"413")):  # without a login
        head = f"POST /api/predict HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {size}\r\n\r\n"
        with (
            socket.create_connection(("127.0.0.1", front.https), SECONDS) as plain,
            trusted.wrap_socket(plain, server_hostname=NAME) as connection,
        ):
            connection.sendall(head.encode())
            said = connection.recv(65_536)
        assert said.split(b" ")[1] == status
    assert b'{"error": "the file is larger than 200 megabytes"}' in said


@pytest.mark.slow
@needs_nginx
def test_too_many_uploads_of_one_address_are_refused(front):
    taken, answer = 0, front.ask("POST", "/api/predict", files={"file": ("a", b"")})
    while answer.status_code == 400 and taken < 200:
        taken, answer = taken + 1, front.ask("POST", "/api/predict", files={"file": ("a", b"")})
    assert taken > 10
    assert answer.status_code == 429
    assert "too many requests" in answer.json()["error"]
    assert int(answer.headers["Retry-After"]) > 0
    assert front.ask("GET", "/").status_code == 200


class Held(http.server.BaseHTTPRequestHandler):
    """Keeps the headers of requests, and answers uploads when `go_on` is set."""

    seen: ClassVar[list[dict[str, str]]] = []
    go_on = threading.Event()

    def do_POST(self):
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers["Content-Length"]))
        self.go_on.wait(SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object): ...


@pytest.mark.slow
@needs_nginx
def test_ten_uploads_of_one_address_at_once_and_no_password_of_them(tmp_path):
    http_port, https_port = free_port(), free_port()
    Held.seen.clear()
    Held.go_on.clear()
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Held) as upstream,
        concurrent.futures.ThreadPoolExecutor(14) as pool,
        nginx(tmp_path, f"http://127.0.0.1:{upstream.server_port}", http_port, https_port),
    ):
        serving = pool.submit(upstream.serve_forever)
        front = Front(tmp_path, http_port, https_port)

        def upload() -> int:
            return front.ask("POST", "/api/predict", files={"file": ("a", b"a")}).status_code

        try:
            asked = [pool.submit(upload) for _ in range(13)]
            end = time.monotonic() + SECONDS
            while sum(one.done() for one in asked) < 3 and time.monotonic() < end:
                time.sleep(0.05)
            Held.go_on.set()
            statuses = sorted(one.result(SECONDS) for one in asked)
        finally:
            Held.go_on.set()
            upstream.shutdown()
        serving.result(SECONDS)
    assert statuses == [200] * 10 + [429] * 3
    assert len(Held.seen) == 10
    for headers in Held.seen:
        assert "authorization" not in headers
        assert headers["host"] == f"{NAME}:{https_port}"
        assert headers["content-length"]


@pytest.mark.slow
@needs_nginx
def test_a_server_that_is_gone_is_told(front, server):  # the last: it ends the server
    assert server.end() == 0
    answer = front.ask("GET", "/api/health")
    assert answer.status_code == 503
    assert "does not run" in answer.json()["error"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_unit_is_one_of_systemd(tmp_path):
    program = pathlib.Path(sys.executable).with_name("rffr-jax")
    unit = tmp_path / "rffr_jax.service"
    unit.write_text(replaced(UNIT, ("/opt/rffr_jax/bin/rffr-jax", str(program), 1)))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr  # it also complains of other units of the machine
