"""The page: drag in an image or a video, see the verdict and the evidence, download the JSON.

Import it after `GRADIO_TEMP_DIR` is set: Gradio reads it when it is imported.
"""

import contextlib
import html
import pathlib
import tempfile
from collections.abc import Iterator

import gradio
from fastapi import FastAPI
from gradio.data_classes import FileData, ListFiles
from gradio.themes import Base

from rffr_jax.predict.verdict import sentence
from rffr_jax.web.answer_html import answer_html, refusal_html
from rffr_jax.web.refused import SENT_TWICE, RefusedError
from rffr_jax.web.uploads import Uploads

TITLE = "Is this face manipulated?"
_SECONDS_KEPT = 3600  # of an upload that nobody asked a score for


def add_page(api: FastAPI, uploads: Uploads, most_bytes: int) -> FastAPI:
    """Mounts the page at `/`. It fetches nothing from anywhere else."""

    async def answered(sent: str | None) -> str:
        if sent is None:
            return ""
        try:
            with taken_upload(pathlib.Path(sent), uploads.folder) as file, uploads.place():
                return answer_html(await uploads.score(file, file.name))
        except RefusedError as error:
            return refusal_html(error.reason)

    with gradio.Blocks(
        analytics_enabled=False, title=TITLE, delete_cache=(_SECONDS_KEPT, _SECONDS_KEPT)
    ) as blocks:
        gradio.HTML(f"<h1>{TITLE}</h1>")
        if uploads.scorer.note:
            gradio.HTML(f'<p id="note">{html.escape(sentence(uploads.scorer.note))}</p>')
        file = gradio.File(label="An image or a video", elem_id="file")
        file.preprocess = _path_of  # its own leaves an empty file behind each time
        answer = gradio.HTML(elem_id="shown")
        # No line of Gradio's: uploads wait in that of the API, each with a file of its own.
        file.upload(answered, file, answer, api_visibility="private", concurrency_limit=None)
    system = Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return gradio.mount_gradio_app(
        api,
        blocks,
        "/",
        allowed_paths=[],
        footer_links=[],
        max_file_size=most_bytes,
        run_history=False,
        show_error=False,
        ssr_mode=False,
        theme=system,
    )


def _path_of(payload: ListFiles | FileData | None) -> str | None:
    """Where an upload lies; Gradio has made sure that it is one."""
    return payload.path if isinstance(payload, FileData) else None


@contextlib.contextmanager
def taken_upload(sent: pathlib.Path, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """An upload in a folder of its own, which goes with the block.

    Args:
      sent: where Gradio has put it: all uploads of the same bytes and name in one place.
      folder: in which the folder is made.

    Raises:
      RefusedError: the same file, sent at the same moment, was taken already (409).
    """
    with tempfile.TemporaryDirectory(dir=folder) as own:
        file = pathlib.Path(own, sent.name)
        try:
            sent.replace(file)
        except FileNotFoundError:
            raise RefusedError(409, SENT_TWICE) from None
        with contextlib.suppress(OSError):  # another upload has come meanwhile
            sent.parent.rmdir()
        yield file
