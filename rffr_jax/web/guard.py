"""A check of every request before the API, and security headers for every answer.

Requests for an unknown host and requests from other pages are refused. Every answer, also an error,
has the headers below. A request that is answered before all of it has arrived is read a little
longer, so that its sender sees the answer and not a broken connection.
"""

import asyncio
from collections.abc import Container

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES_DRAINED = 10**6
SECONDS_DRAINED = 2.0

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_HARMLESS = ("GET", "HEAD", "OPTIONS")


class Guard:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, trusted: Container[str]):
        """
        Args:
          trusted: the `Host` headers that are answered.
        """
        self._app, self._trusted = app, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send):
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"unexpected connection of type {scope['type']}")
        reason = self._refusal(scope["method"], Headers(scope=scope))
        app = JSONResponse({"error": reason}, 403) if reason else self._app
        exchange = _Exchange(scope, receive, send)
        await app(scope, exchange.receive, exchange.send)

    def _refusal(self, method: str, headers: Headers) -> str:
        """Why a request is refused; '' if it is not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._trusted:
            return (
                "the name in Host is not a name of this server; its owner can allow it with "
                "--config.trusted_hosts"
            )
        if method in _HARMLESS:
            return ""
        own = (f"http://{hosts[0]}", f"https://{hosts[0]}")
        if any(origin.lower() not in own for origin in headers.getlist("origin")):
            return "the request comes from a page of another origin"
        if any(site not in ("same-origin", "none") for site in headers.getlist("sec-fetch-site")):
            return "the request comes from a page of another site"
        return ""


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        headers = Headers(scope=scope)
        self._receive, self._send = receive, send
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

    async def receive(self) -> Message:
        message = await self._receive()
        self._unread = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message):
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            if self._unread:
                headers["Connection"] = "close"
        elif self._unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _drain(self):
        left = MOST_BYTES_DRAINED
        try:
            async with asyncio.timeout(SECONDS_DRAINED):
                while self._unread and left > 0:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass
