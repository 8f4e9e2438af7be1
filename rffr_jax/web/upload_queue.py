"""The queue of uploads for the processes that score."""

import asyncio
import collections
import contextlib
import ipaddress
import pathlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

from rffr_jax.errors import UserError
from rffr_jax.predict.inputs import media_kind
from rffr_jax.web.refused import RefusedError, server_stops
from rffr_jax.web.scoring_process import ScoringProcess


class UploadQueue:
    """Scores uploads in the order of their arrival, each in a process that is free.

    Attributes:
      folder: where uploads are stored until they are answered.
      closed: set when also uploads are refused that are here.
    """

    def __init__(self, scorers: Sequence[ScoringProcess], folder: pathlib.Path, most_waiting: int):
        """
        Args:
          scorers: ready ones.
        """
        self.folder, self.closed = folder, asyncio.Event()
        self._scorers, self._idle = scorers, collections.deque(scorers)
        self._free = asyncio.Semaphore(len(scorers))
        # `close` never waits for a thread behind files that are scored.
        self._threads = futures.ThreadPoolExecutor(len(scorers), "scorer")
        self._freeing: set[asyncio.Task[None]] = set()
        self._places = most_waiting + len(scorers)
        self._most_of_sender = most_waiting // 2 + len(scorers)
        self._taken = collections.Counter[str]()
        self._stops = False

    @property
    def note(self) -> str:
        """A warning to show beside every score; '' if there is none."""
        return self._scorers[0].note

    @property
    def stops(self) -> bool:
        """Whether new uploads are refused."""
        return self._stops

    @property
    def is_empty(self) -> bool:
        """Whether every upload is answered."""
        return not self._taken

    def stop(self):
        """Refuses new uploads from now on."""
        self._stops = True

    async def close(self):
        """Ends the scoring processes; uploads that are not answered yet are refused."""
        self.stop()
        self.closed.set()
        await asyncio.gather(*(asyncio.to_thread(scorer.close) for scorer in self._scorers))

    @contextlib.contextmanager
    def reserve(self, address: str) -> Iterator[None]:
        """Reserves a place in the queue, from before an upload is read until it is answered.

        One sender can have half of the places to wait, and as many more as there are scorers.

        Args:
          address: numeric, of the sender.

        Raises:
          RefusedError: no place is free, or the sender has its share (429); the server stops (503).
        """
        if self._stops:
            raise server_stops()
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
        async with self._free_scorer() as scorer:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                answer = await self._in_thread(scorer.score, file, pathlib.Path(folder))
        answer["files"][0]["path"] = base_name(name)
        return answer

    @contextlib.asynccontextmanager
    async def _free_scorer(self) -> AsyncIterator[ScoringProcess]:
        await self._free.acquire()
        scorer = self._idle.popleft()
        try:
            yield scorer
        finally:
            task = asyncio.create_task(self._free_again(scorer))
            self._freeing.add(task)
            task.add_done_callback(self._freeing.discard)

    async def _free_again(self, scorer: ScoringProcess):
        """Where its process is a new one, other scorers take the uploads until it is ready."""
        with contextlib.suppress(UserError):  # the next upload that it gets is told
            await self._in_thread(scorer.wait_until_ready)
        self._idle.append(scorer)
        self._free.release()

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)


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
