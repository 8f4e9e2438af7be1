"""The page: three files of this package, each under one address and no others."""

import functools
import importlib.resources

from fastapi import FastAPI
from fastapi.responses import Response

FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


def add_page(api: FastAPI):
    """Serves `FILES`, which are read once."""
    folder = importlib.resources.files("rffr_jax.web") / "static"
    for address, (name, kind) in FILES.items():
        answer = functools.partial(Response, (folder / name).read_bytes(), media_type=kind)
        api.add_route(address, _answering(answer), methods=["GET"], include_in_schema=False)


def _answering(make: functools.partial[Response]):
    async def answer(_) -> Response:
        return make()

    return answer
