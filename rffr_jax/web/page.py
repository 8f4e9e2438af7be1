"""The page: drag in an image or a video, see the verdict and the evidence, download the JSON.

Import it after `GRADIO_TEMP_DIR` is set: Gradio reads it when it is imported.
"""

import html
import pathlib

import gradio
from fastapi import FastAPI
from gradio.themes import Base

from rffr_jax.web.answer_html import answer_html, refusal_html
from rffr_jax.web.refused import RefusedError
from rffr_jax.web.uploads import Uploads

TITLE = "Is this face manipulated?"
_SECONDS_KEPT = 3600  # of an upload that nobody asked a score for


def add_page(api: FastAPI, uploads: Uploads, most_bytes: int, most_waiting: int) -> FastAPI:
    """Mounts the page at `/`. It fetches nothing from anywhere else."""

    async def answered(sent: str | None) -> str:
        if sent is None:
            return ""
        path = pathlib.Path(sent)
        try:
            with uploads.place():
                return answer_html(await uploads.score(path, path.name))
        except RefusedError as error:
            return refusal_html(error.reason)
        finally:
            path.unlink(missing_ok=True)

    with gradio.Blocks(
        analytics_enabled=False, title=TITLE, delete_cache=(_SECONDS_KEPT, _SECONDS_KEPT)
    ) as blocks:
        gradio.HTML(f"<h1>{TITLE}</h1>")
        if uploads.scorer.note:
            note = html.escape(uploads.scorer.note)
            gradio.HTML(f'<p id="note"><strong>Note:</strong> {note}</p>')
        file = gradio.File(label="An image or a video", type="filepath", elem_id="file")
        answer = gradio.HTML(elem_id="shown")
        file.upload(answered, file, answer, api_visibility="private")
    blocks.queue(max_size=most_waiting, default_concurrency_limit=1)
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
