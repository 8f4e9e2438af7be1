"""The HTTP API: `POST /api/predict` takes one file; its answer has the schema of predict."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from rffr_jax.web.refused import RefusedError
from rffr_jax.web.uploads import Uploads

MEGABYTE = 10**6
SECONDS_TO_RETRY = 10
_ENVELOPE = 65_536  # bytes of a request beside its file


def make_api(uploads: Uploads, most_bytes: int) -> FastAPI:
    """The API; the process that scores ends with it.

    Args:
      most_bytes: of an upload.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        uploads.scorer.close()

    # FastAPI's pages about an API fetch scripts from elsewhere.
    api = FastAPI(title="rffr_jax", lifespan=lifespan, docs_url=None, redoc_url=None)

    @api.get("/api/health")
    async def health() -> dict[str, str]:
        return {"status": "ready", "note": uploads.scorer.note}

    @api.post("/api/predict")
    async def predict(request: Request) -> JSONResponse:
        with uploads.place(), tempfile.TemporaryDirectory(dir=uploads.folder) as folder:
            limited = Request(request.scope, _limited(request.receive, most_bytes))
            async with limited.form(max_files=1, max_fields=0) as form:
                sent = form.get("file")
                if not isinstance(sent, UploadFile):
                    raise RefusedError(400, "send one file, as the multipart field 'file'")
                name = sent.filename or ""
                path = pathlib.Path(folder, "upload")
                with path.open("wb") as file:
                    shutil.copyfileobj(sent.file, file)
            if path.stat().st_size > most_bytes:
                raise _too_large(most_bytes)
            return JSONResponse(await uploads.score(path, name))

    @api.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        headers = {"Retry-After": str(SECONDS_TO_RETRY)} if error.status == 429 else {}
        return JSONResponse({"error": error.reason}, error.status, headers)

    @api.exception_handler(HTTPException)
    async def not_understood(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @api.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"error": "a defect of the server; its log says more"}, 500)

    return api


def _limited(receive: Receive, most_bytes: int) -> Receive:
    """Messages of a request, up to one that is too large, whatever its header says of its size."""
    left = most_bytes + _ENVELOPE

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large(most_bytes)
        return message

    return counted


def _too_large(most_bytes: int) -> RefusedError:
    return RefusedError(413, f"the file is larger than {most_bytes / MEGABYTE:g} megabytes")
