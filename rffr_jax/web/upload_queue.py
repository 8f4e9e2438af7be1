"""The queue of uploads before the one process that scores."""

import asyncio
import collections
import contextlib
import ipaddress
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from rffr_jax.predict.inputs import media_kind
from rffr_jax.web.refused import FULL, FULL_FOR_SENDER, RefusedError


@runtime_checkable
class Scorer(Protocol):
    """What `scoring_process.ScoringProcess` does; tests stand in for it."""

    note: str

    def score(self, file: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]: ...

    def close(self): ...


class UploadQueue:
    """Scores uploads one after another, in the order in which they come.

    Attributes:
      folder: where they lie meanwhile.
    """

    def __init__(self, scorer: Scorer, folder: pathlib.Path, most_waiting: int):
        self.folder, self.scorer = folder, scorer
        self._places = most_waiting + 1
        self._most_of_sender = most_waiting // 2 + 1
        self._taken = collections.Counter[str]()
        self._turn = asyncio.Lock()

    @contextlib.contextmanager
    def place(self, address: str) -> Iterator[None]:
        """A place in the queue, from before an upload is read until it is answered.

        One sender can take half of those that wait.

        Args:
          address: numeric, of the sender.

        Raises:
          RefusedError: there is none, or the sender has its share (429).
        """
        sender = sender_network(address)
        if self._taken.total() >= self._places:
            raise RefusedError(429, FULL)
        if self._taken[sender] >= self._most_of_sender:
            raise RefusedError(429, FULL_FOR_SENDER)
        self._taken[sender] += 1
        try:
            yield
        finally:
            self._taken[sender] -= 1
            if not self._taken[sender]:
                del self._taken[sender]

    async def score(self, file: pathlib.Path, name: str) -> dict[str, Any]:
        """`ScoringProcess.score` of an upload that has a place.

        Args:
          name: what the uploader calls it; its last part stands in the answer.

        Raises:
          RefusedError: it is empty (400), no image or video (415), or refused by the process.
        """
        if not file.stat().st_size:
            raise RefusedError(400, "the file is empty")
        kind, reason = media_kind(file)
        if not kind:
            raise RefusedError(415, reason)
        async with self._turn:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                answer = await asyncio.to_thread(self.scorer.score, file, pathlib.Path(folder))
        answer["files"][0]["path"] = base_name(name)
        return answer


def sender_network(address: str) -> str:
    """A sender's numeric address; of IPv6 the network, whose other addresses are its own too."""
    try:
        numeric = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(numeric, ipaddress.IPv4Address):
        return str(numeric)
    if numeric.ipv4_mapped:
        return str(numeric.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(numeric), 64), strict=False))


def base_name(name: str) -> str:
    """The last part of a file's name as any system writes it, and as text that JSON can hold."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return last.encode("utf-8", "replace").decode("utf-8") or "upload"
