"""Load on a running web page: is every upload answered, with its own answer, and how soon?

    python -m scripts.web_load --url http://127.0.0.1:7860 --uploads 200 --clients 20

Clients beside each other send drawn faces to /api/predict. No two uploads are equal. Every answer
is compared with its upload: the name, and the SHA-256 of what was scored. What is refused for now
(429, 503) is sent again after the seconds in Retry-After, until --seconds are over. The times of
p50 and p95 go from the first sending to the answer. Prints Markdown. Needs httpx. Load only servers
of your own. Exit codes: 0 every upload has its answer; 1 some are lost or mixed up; 2 a mistake.
"""

import argparse
import concurrent.futures
import functools
import hashlib
import io
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import numpy as np
from PIL import Image

from rffr_jax.cluster.command_line import Parser, run_program
from rffr_jax.errors import UserError

PEOPLE, SIZE = 8, 384  # drawn faces and their side in pixels
ANSWERED, MIXED_UP, LOST = "answered", "mixed up", "lost"
REFUSED_FOR_NOW = (429, 503)
SECONDS_TO_RETRY = 1.0  # where the answer has no number in Retry-After


class Outcome(NamedTuple):
    """What became of one upload.

    Attributes:
      kind: ANSWERED, MIXED_UP or LOST.
      seconds: from its first sending to its last answer.
      refused: how often it was refused for now.
      sent: how often it was sent.
      reason: why it is lost, or what is mixed up.
    """

    kind: str
    seconds: float
    refused: int
    sent: int
    reason: str = ""


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="of the page; may hold USER:PASSWORD@")
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20, help="that send beside each other")
    parser.add_argument("--seconds", type=float, default=1800, help="after which uploads are lost")
    try:
        args = parser.parse_args(argv)
        if min(args.uploads, args.clients) < 1 or args.seconds <= 0:
            raise UserError("--uploads and --clients must be at least 1, --seconds above 0")
        begun = time.monotonic()
        outcomes = send_all(args.url, args.uploads, args.clients, args.seconds)
        spent = time.monotonic() - begun
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in report(outcomes, spent):
        print(line)
    return int(any(outcome.kind != ANSWERED for outcome in outcomes))


def send_all(url: str, uploads: int, clients: int, seconds: float) -> list[Outcome]:
    """The outcomes of uploads 0 to `uploads - 1`.

    Args:
      seconds: after which nothing is sent any more.

    Raises:
      UserError: no page of this program is there.
    """
    page, login = split_login(url)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    with httpx.Client(base_url=page, auth=login, limits=limits, timeout=seconds) as client:
        try:
            ready = client.get("/api/health")
            ready.raise_for_status()
        except httpx.HTTPError as error:
            raise UserError(f"--url={page}: no page can be loaded there: {error}") from error
        until = time.monotonic() + seconds
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            return list(pool.map(lambda number: send(client, number, until), range(uploads)))


def split_login(url: str) -> tuple[httpx.URL, tuple[str, str] | None]:
    """The address without USER:PASSWORD@, which no message shows, and both of them.

    Raises:
      UserError: it is no address.
    """
    try:
        page = httpx.URL(url)
    except httpx.InvalidURL:
        page = httpx.URL("")
    if page.scheme not in ("http", "https") or not page.host:
        raise UserError("--url is no address; write http://HOST:PORT or https://USER:PASSWORD@HOST")
    login = (page.username, page.password) if page.userinfo else None
    return page.copy_with(userinfo=b""), login


def send(client: httpx.Client, number: int, until: float) -> Outcome:
    """Sends one upload until it is answered.

    Args:
      until: on the monotonic clock.
    """
    name, data = f"upload{number}.png", picture(number)
    begun, refused, sent = time.monotonic(), 0, 0

    def ended(kind: str, reason: str = "") -> Outcome:
        return Outcome(kind, time.monotonic() - begun, refused, sent, reason)

    while (left := until - time.monotonic()) > 0:
        sent += 1
        try:
            answer = client.post("/api/predict", files={"file": (name, data)}, timeout=left)
            said = answer.json()
        except httpx.HTTPError as error:
            return ended(LOST, f"{type(error).__name__}: {error}")
        except ValueError:
            return ended(LOST, f"status {answer.status_code} without JSON")
        if not isinstance(said, dict):
            return ended(LOST, f"status {answer.status_code} with JSON that is no object")
        if answer.status_code == 200:
            own = {"path": name, "sha256": hashlib.sha256(data).hexdigest()}
            try:
                (record,) = said["files"]
                other = {key: record[key] for key in own if record[key] != own[key]}
            except (KeyError, TypeError, ValueError):
                return ended(LOST, "status 200 without the record of one file")
            wrong = [f"{key} of {name} is {value}" for key, value in other.items()]
            return ended(MIXED_UP if wrong else ANSWERED, ", ".join(wrong))
        if answer.status_code not in REFUSED_FOR_NOW:
            return ended(LOST, f"status {answer.status_code}: {said.get('error')}")
        refused += 1
        named = answer.headers.get("Retry-After", "")
        seconds = float(named) if named.isdecimal() else SECONDS_TO_RETRY
        time.sleep(max(0.0, min(seconds, until - time.monotonic())))
    return ended(LOST, "refused until the time was over" if refused else "the time was over")


def picture(number: int) -> bytes:
    """A PNG file of a drawn face whose first pixels hold the number."""
    image = _face(number % PEOPLE).copy()
    image[0, :8, 0] = np.frombuffer(number.to_bytes(8, "little"), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


@functools.cache
def _face(identity: int) -> np.ndarray:
    from rffr_jax.synthetic.procedural_face import render_face

    return np.rint(255 * render_face(0, identity, SIZE).image).astype(np.uint8)


def report(outcomes: list[Outcome], seconds: float) -> Iterator[str]:
    """Lines of Markdown."""
    counts = {
        kind: sum(outcome.kind == kind for outcome in outcomes)
        for kind in (ANSWERED, LOST, MIXED_UP)
    }
    answered = [outcome.seconds for outcome in outcomes if outcome.kind == ANSWERED]
    yield "| what | measured |"
    yield "| --- | --- |"
    rate = len(outcomes) / seconds
    yield f"| uploads | {len(outcomes)} in {seconds:.0f} s, {rate:.2f} a second |"
    for kind, count in counts.items():
        yield f"| {kind} | {count} |"
    yield f"| refused for now | {sum(outcome.refused for outcome in outcomes)} |"
    yield f"| sent again | {sum(max(0, outcome.sent - 1) for outcome in outcomes)} |"
    if answered:
        half, most = np.quantile(answered, (0.5, 0.95))
        yield f"| p50, p95 until the answer | {half:.1f} s, {most:.1f} s |"
    reasons = [outcome.reason for outcome in outcomes if outcome.reason]
    for reason in list(dict.fromkeys(reasons))[:5]:
        yield f"| {reasons.count(reason)} x | {reason} |"


if __name__ == "__main__":
    sys.exit(run_program(main, pages=True))
