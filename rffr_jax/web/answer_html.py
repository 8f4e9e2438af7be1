"""An answer as the page shows it: verdict, evidence, and the JSON to be downloaded."""

import html
import json
from collections.abc import Mapping
from typing import Any

from rffr_jax.predict.inputs import VIDEO
from rffr_jax.predict.timeline import STYLE, timeline
from rffr_jax.predict.verdict import score_said, sentence
from rffr_jax.reports.page import data_address

MEANING = (
    "A score is an opinion about pixels. One above the threshold is no proof, and one that is not "
    "above it does not make a picture genuine."
)


def answer_html(answer: Mapping[str, Any]) -> str:
    """HTML without scripts; every picture is inside it.

    Args:
      answer: of `Uploads.score`.
    """
    (file,) = answer["files"]
    threshold = answer["threshold"]["value"]
    parts = [
        f"<h2>{sentence(_verdict(file, threshold))}</h2>",
        f"<p>{html.escape(file['path'])}</p>",
    ]
    parts.append(f"<p>{MEANING}</p>")
    if file["source"] and file["source"]["kind"] == VIDEO:
        pictures = {peak["picture"] for face in file["faces"] for peak in face["peaks"]}
        parts.append(STYLE + timeline(file, threshold, {one: one for one in pictures}, "video"))
    for face in file["faces"]:
        said = f"Face {face['face']}: {_verdict(face, threshold)}"
        if len(face["frames"]) > 1:
            peak = face["peak"]
            said += f"; highest in frame {peak['frame']} at {peak['time']:.2f} s"
        parts.append(f"<h3>{said}</h3>")
        if face["evidence"]:
            parts.append(
                f'<p><img class="evidence" src="{face["evidence"]}" style="max-width:100%" '
                f'alt="original, reconstruction, residual and heat of face {face["face"]}"></p>'
            )
        elif face["picture"]:
            parts.append(f'<p><img src="{face["picture"]}" alt="face {face["face"]}"></p>')
    address = data_address(json.dumps(answer, indent=2).encode(), "application/json")
    parts.append(
        f'<p><a id="download" download="predictions.json" style="text-decoration:underline" '
        f'href="{address}">Download JSON</a></p>'
    )
    return f'<div id="answer">{"".join(parts)}</div>'


def refusal_html(reason: str) -> str:
    """The line that says why there is no answer."""
    return f'<div id="answer"><h2>Not scored</h2><p>{html.escape(reason)}</p></div>'


def _verdict(record: Mapping[str, Any], threshold: float) -> str:
    if record["score"] is None:
        return f"unknown: {html.escape(record['reason'])}"
    return score_said(record, threshold)
