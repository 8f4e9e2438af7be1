"""Records of faces and files: status and score, or the reason why there is no score.

`real` only means that the score is not above the threshold.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from rffr_jax.evaluation.aggregate import aggregate_scores
from rffr_jax.predict.face_finding import FoundFaces, Sighting

REAL, FAKE, UNKNOWN = "real", "fake", "unknown"


def face_record(
    sightings: Sequence[Sighting],
    scores: Float64[np.ndarray, " scored"],
    threshold: float,
    how: str,
    top_k: int,
) -> dict[str, Any]:
    """A face's entry in predictions.json, without pictures and `probability`.

    Args:
      sightings: at least one.
      scores: of the usable ones, in their order.
      threshold: a score above it is `fake`.
      how, top_k: as in `aggregate.aggregate_scores`.

    Returns:
      `frames` holds the frames that were scored, `not_judged` the others with their reasons. `box`
      is from the frame with the highest score, or from the one where the face is largest.
    """
    scored = [sighting for sighting in sightings if sighting.usable]
    if scored:
        score = aggregate_scores(scores, how, top_k)
        status, reason = FAKE if score > threshold else REAL, None
        shown = scored[int(scores.argmax())]
    else:
        shown = largest_sighting(sightings)
        status, score, reason = UNKNOWN, None, shown.reason
    return {
        "status": status,
        "score": score,
        "probability": None,
        "reason": reason,
        "box": shown.box and list(shown.box),
        "peak": {"time": round(shown.time, 3), "frame": shown.frame} if scored else None,
        "peaks": [],
        "evidence": None,
        "picture": None,
        "frames": [
            _place(sighting) | {"score": float(value)}
            for sighting, value in zip(scored, scores, strict=True)
        ],
        "not_judged": [
            _place(sighting) | {"reason": sighting.reason}
            for sighting in sightings
            if not sighting.usable
        ],
    }


def largest_sighting(sightings: Sequence[Sighting]) -> Sighting:
    """The one whose box has the largest area; the first of crops that were given."""

    def area(sighting: Sighting) -> float:
        left, top, right, bottom = sighting.box or (0.0, 0.0, 0.0, 0.0)
        return (right - left) * (bottom - top)

    return max(sightings, key=area)


def _place(sighting: Sighting) -> dict[str, Any]:
    return {
        "time": round(sighting.time, 3),
        "frame": sighting.frame,
        "box": sighting.box and list(sighting.box),
    }


def file_record(
    found: FoundFaces, faces: Sequence[dict[str, Any]], threshold: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A file's entry in predictions.json.

    The file is `fake` if one of its faces is, `unknown` if all of them are or there is none; its
    score is the highest of its faces, its probability that of the same face.

    Args:
      threshold: `DecisionRule.record` of the faces; None for a file that is no image and no video.
    """
    judged = [face for face in faces if face["score"] is not None]
    highest = max(judged, key=lambda face: face["score"], default=None)
    statuses = {face["status"] for face in faces}
    status = next((s for s in (FAKE, REAL) if s in statuses), UNKNOWN)
    reason = None
    if status == UNKNOWN:
        reason = faces[0]["reason"] if faces else found.reason
    return {
        "path": printable_path(str(found.path)),
        "sha256": found.sha256 or None,
        "examined": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "status": status,
        "score": highest and highest["score"],
        "probability": highest and highest["probability"],
        "reason": reason,
        "threshold": threshold,
        "source": found.source,
        "annotated": None,
        "faces_left_out": found.left_out,
        "faces": [{"face": number, **face} for number, face in enumerate(faces, 1)],
    }


def describe_status(record: Mapping[str, Any], threshold: float) -> str:
    """The score of a face or file in words, or why it has none."""
    if record["score"] is None:
        return f"{UNKNOWN}: {record['reason']}"
    return describe_score(record, threshold)


def describe_score(record: Mapping[str, Any], threshold: float) -> str:
    """The score of a face or file in words."""
    where = "above" if record["status"] == FAKE else "not above"
    text = f"score {record['score']:.3f}, {where} the threshold {threshold:.3f}"
    return text + describe_probability(record)


def describe_probability(record: Mapping[str, Any]) -> str:
    """The calibrated probability of a face or file, to follow its score; '' without one."""
    probability = record["probability"]
    return "" if probability is None else f" (calibrated probability {probability:.2f})"


def as_sentence(text: str) -> str:
    """With a capital letter and a full stop; '' stays as it is."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def printable_path(path: str) -> str:
    """A path as text that any file can hold; bytes that are no letters become `\\xNN`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
