"""The queue of uploads for the one process that scores."""

import asyncio
import collections
import contextlib
import ipaddress
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from rffr_jax.predict.inputs import media_kind
from rffr_jax.web.refused import RefusedError
from rffr_jax.web.scoring_process import ScoringProcess


class UploadQueue:
    """Scores uploads one after another, in the order of their arrival.

    Attributes:
      folder: where uploads are stored until they are answered.
    """

    def __init__(self, scorer: ScoringProcess, folder: pathlib.Path, most_waiting: int):
        self.folder, self.scorer = folder, scorer
        self._places = most_waiting + 1
        self._most_of_sender = most_waiting // 2 + 1
        self._taken = collections.Counter[str]()
        self._turn = asyncio.Lock()

    @contextlib.contextmanager
    def reserve(self, address: str) -> Iterator[None]:
        """Reserves a place in the queue, from before an upload is read until it is answered.

        One sender can have half of the places.

        Args:
          address: numeric, of the sender.

        Raises:
          RefusedError: no place is free, or the sender has its share (429).
        """
        sender = sender_network(address)
        if self._taken.total() >= self._places:
            raise RefusedError(429, "too many uploads are waiting; try again later")
        if self._taken[sender] >= self._most_of_sender:
            raise RefusedError(
                429, "too many uploads from your address are waiting; try again later"
            )
        self._taken[sender] += 1
        try:
            yield
        finally:
            self._taken[sender] -= 1
            if not self._taken[sender]:
                del self._taken[sender]

    async def score(self, file: pathlib.Path, name: str) -> dict[str, Any]:
        """`ScoringProcess.score` of an upload with a reserved place.

        Args:
          name: from the uploader; its last part is in the answer.

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
    """A sender's numeric address; for IPv6 the /64 network, which usually has one owner."""
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
    """The last part of a file's path in any system's notation, as valid UTF-8."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return last.encode("utf-8", "replace").decode("utf-8") or "upload"
