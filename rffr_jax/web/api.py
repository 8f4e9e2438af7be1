"""The page and the HTTP API: `POST /api/predict` scores one file as the job `predict` does."""

import asyncio
import contextlib
import importlib.resources
import pathlib
import tempfile
from collections.abc import AsyncIterator, Container, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from rffr_jax.web.guard import Guard
from rffr_jax.web.multipart_file import Limits, receive_file
from rffr_jax.web.refused import RefusedError, server_stops
from rffr_jax.web.samples import sample_picture, sample_titles
from rffr_jax.web.upload_queue import UploadQueue

SECONDS_TO_RETRY = 10
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript")
        for name in (
            *("page", "card", "elements", "evidence", "frames", "results", "timeline"),
            *("verdict", "whole"),
        )
    },
}
"""The files of the page, each under one path."""


def make_api(
    uploads: UploadQueue, limits: Limits, trusted: Container[str], terms: Mapping[str, Any]
) -> ASGIApp:
    """The API and the page; the scoring processes end with them.

    Args:
      terms: `terms.upload_terms`.
      trusted: the `Host` headers that are answered.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await uploads.close()

    # FastAPI's own pages about an API load scripts from other hosts.
    api = FastAPI(
        title="rffr_jax", lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    for address in FILES:
        api.add_route(address, _serve_page, methods=["GET"], include_in_schema=False)

    @api.get("/api/health")
    async def health() -> dict[str, Any]:
        if uploads.stops:
            raise server_stops()
        about = {"status": "ready", "note": uploads.note, "most_bytes": limits.most_bytes}
        return {**about, **terms, "samples": sample_titles()}

    @api.get("/samples/{name}")
    async def sample(name: str) -> Response:
        if name not in sample_titles():
            raise RefusedError(404, "there is no such sample")
        content = await asyncio.to_thread(sample_picture, name)
        return Response(content, media_type="image/png")

    @api.post("/api/predict")
    async def predict(request: Request) -> JSONResponse:
        sender = request.client.host if request.client else ""
        with (
            uploads.reserve(sender),
            tempfile.TemporaryDirectory(dir=uploads.folder) as folder,
        ):
            path = pathlib.Path(folder, "upload")
            name = await receive_file(request, path, limits, uploads.closed)
            return JSONResponse(await uploads.score(path, name))

    @api.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        headers = {"Retry-After": str(SECONDS_TO_RETRY)} if error.status in (429, 503) else {}
        return JSONResponse({"error": error.reason}, error.status, headers)

    @api.exception_handler(HTTPException)
    async def not_understood(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @api.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"error": "a defect of the server; its log says more"}, 500)

    return Guard(api, trusted)


async def _serve_page(request: Request) -> Response:
    name, media_type = FILES[request.url.path]
    content = importlib.resources.files("rffr_jax.web").joinpath("static", name).read_bytes()
    return Response(content, media_type=media_type)
