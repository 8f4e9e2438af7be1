"""Writes the one file of a multipart request to a path of the server's choice, as it arrives."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncGenerator
from typing import BinaryIO, NamedTuple

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.types import Message

from rffr_jax.web.refused import RefusedError, server_stops

MEGABYTE = 10**6
FIELD = b"file"
BYTES_OF_PROGRESS = 65_536
ENVELOPE = 65_536
"""Bytes of a request beside its file, at most."""


class Limits(NamedTuple):
    """Limits of an upload while it arrives.

    Attributes:
      most_bytes: of the file.
      seconds: within which `BYTES_OF_PROGRESS` more bytes, or the rest, must arrive.
    """

    most_bytes: int
    seconds: float


async def receive_file(
    request: Request, path: pathlib.Path, limits: Limits, closed: asyncio.Event
) -> str:
    """Writes the file of the field `file` to `path`, which must not exist.

    Args:
      closed: is set when the server takes nothing more, also of what has begun.

    Returns:
      The name that the sender gives the file; it is never used as a path.

    Raises:
      RefusedError: the request does not hold exactly one file (400), makes no progress (408), is
        too large (413), or is not whole when the server closes (503).
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise _not_one_file()
    with path.open("xb") as file:
        part = _FilePart(file, limits.most_bytes)
        try:
            parser = part.parser(options[b"boundary"])
            async with contextlib.aclosing(_pieces(request, limits, closed)) as pieces:
                async for piece in pieces:
                    parser.write(piece)
        except FormParserError:
            raise RefusedError(400, "the body is no multipart form") from None
    if not part.ended:
        raise _not_one_file()
    return part.name


class _FilePart:
    """Receives the parser's events: one part, which is a file."""

    def __init__(self, file: BinaryIO, most_bytes: int):
        self.name, self.ended = "", False
        self._file, self._left, self._most = file, most_bytes, most_bytes
        self._begun = False
        self._header, self._value, self._disposition = b"", b"", b""

    def parser(self, boundary: bytes) -> MultipartParser:
        """A parser that calls the methods below and limits the size of the part's headers.

        Raises:
          FormParserError: the boundary is too long.
        """
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_to_header,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._write,
                "on_part_end": self._end,
            },
        )

    def _begin(self):
        if self._begun:
            raise _not_one_file()
        self._begun = True

    def _add_to_header(self, data: bytes, start: int, end: int):
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int):
        self._value += data[start:end]

    def _end_header(self):
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _end_headers(self):
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD or b"filename" not in options:
            raise _not_one_file()
        self.name = options[b"filename"].decode("utf-8", "replace")

    def _write(self, data: bytes, start: int, end: int):
        self._left -= end - start
        if self._left < 0:
            raise _too_large(self._most)
        self._file.write(data[start:end])

    def _end(self):
        self.ended = True


async def _pieces(
    request: Request, limits: Limits, closed: asyncio.Event
) -> AsyncGenerator[bytes, None]:
    """A request's body as it arrives; the size in its header is checked but not trusted."""
    length = request.headers.get("content-length", "")
    most = limits.most_bytes + ENVELOPE
    if length.isdigit() and int(length) > most:
        raise _too_large(limits.most_bytes)
    clock = asyncio.get_running_loop().time
    received, mark, deadline, more = 0, BYTES_OF_PROGRESS, clock() + limits.seconds, True
    while more:
        try:
            async with asyncio.timeout_at(deadline):
                message = await _next_message(request, closed)
        except TimeoutError:
            raise RefusedError(408, "the file comes too slowly or not at all") from None
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the request ended before its file")
        more = message.get("more_body", False)
        piece = message.get("body", b"")
        received += len(piece)
        if received > most:
            raise _too_large(limits.most_bytes)
        if received >= mark:
            mark, deadline = received + BYTES_OF_PROGRESS, clock() + limits.seconds
        yield piece


async def _next_message(request: Request, closed: asyncio.Event) -> Message:
    received = asyncio.ensure_future(request.receive())
    closing = asyncio.ensure_future(closed.wait())
    try:
        await asyncio.wait((received, closing), return_when=asyncio.FIRST_COMPLETED)
        if closed.is_set():
            raise server_stops()
        return received.result()
    finally:
        received.cancel()
        closing.cancel()


def _not_one_file() -> RefusedError:
    return RefusedError(400, "send one file, as the multipart field 'file'")


def _too_large(most_bytes: int) -> RefusedError:
    return RefusedError(413, f"the file is larger than {most_bytes / MEGABYTE:g} megabytes")
