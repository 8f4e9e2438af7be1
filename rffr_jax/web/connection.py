"""uvicorn's connection, with limits that uvicorn lacks before a request reaches the application."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from rffr_jax.web.guard import HEADERS

SECONDS_FOR_HEAD = 10.0
"""Within which the first byte and the headers of a connection's next request must arrive."""


SECONDS_FOR_ANSWER, BYTES_OF_ANSWER = 30.0, 65_536
"""A client takes at least so many bytes of its answer within so many seconds, or all the rest."""


class Connection(H11Protocol):
    """Closes connections without a request, or whose answer is not taken; answers broken requests
    with all headers."""

    _timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any):  # that of asyncio or of uvloop
        """Starts to wait for a request."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes):
        """Waits further while the headers of a request are not complete."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._timer is None:
            self._start_timer()

    def connection_lost(self, exc: Exception | None):
        """Stops the timers."""
        self._stop_timer()
        self._stop_answer_timer()
        super().connection_lost(exc)

    def pause_writing(self):
        """Starts to wait for a client that takes its answer more slowly than it is written."""
        super().pause_writing()
        self._start_answer_timer()

    def resume_writing(self):
        """The client has taken nearly all of its answer."""
        self._stop_answer_timer()
        super().resume_writing()

    def send_400_response(self, msg: str):
        """Answers that it is no request, unless another answer has begun, and closes."""
        if self.cycle:  # the application must not answer any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = b'{"error": "this is no HTTP request"}'
            headers = {**HEADERS, "Content-Type": "application/json", "Connection": "close"}
            headers["Content-Length"] = str(len(body))
            response = h11.Response(status_code=400, headers=list(headers.items()))
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _start_timer(self):
        self._timer = self.loop.call_later(SECONDS_FOR_HEAD, self.transport.close)

    def _stop_timer(self):
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _start_answer_timer(self):
        left = self.transport.get_write_buffer_size()
        self._answer_timer = self.loop.call_later(SECONDS_FOR_ANSWER, self._check_answer, left)

    def _check_answer(self, before: int):
        if before - self.transport.get_write_buffer_size() < BYTES_OF_ANSWER:
            self.transport.abort()
        else:
            self._start_answer_timer()

    def _stop_answer_timer(self):
        if self._answer_timer:
            self._answer_timer.cancel()
        self._answer_timer = None
