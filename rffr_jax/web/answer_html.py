"""An answer as the page shows it: verdict, evidence, and the JSON to be downloaded."""

import base64
import html
import json
from collections.abc import Mapping
from typing import Any

from rffr_jax.predict.inputs import VIDEO
from rffr_jax.predict.timeline import STYLE, timeline

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
    parts = [f"<h2>{_verdict(file, threshold)}</h2>", f"<p>{html.escape(file['path'])}</p>"]
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
    coded = base64.b64encode(json.dumps(answer, indent=2).encode()).decode("ascii")
    parts.append(
        f'<p><a id="download" download="predictions.json" style="text-decoration:underline" '
        f'href="data:application/json;base64,{coded}">Download JSON</a></p>'
    )
    return f'<div id="answer">{"".join(parts)}</div>'


def refusal_html(reason: str) -> str:
    """The line that says why there is no answer."""
    return f'<div id="answer"><h2>Not scored</h2><p>{html.escape(reason)}</p></div>'


def _verdict(record: Mapping[str, Any], threshold: float) -> str:
    if record["score"] is None:
        return f"unknown: {html.escape(record['reason'])}"
    where = "above" if record["status"] == "fake" else "not above"
    return f"score {record['score']:.3f}, {where} the threshold {threshold:.3f}"
