"""Verdicts on files and their faces: records as in predictions.json, pixels and evidence."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.predict.decision_rule import DecisionRule
from rffr_jax.predict.evidence import Explanation
from rffr_jax.predict.face_finding import FoundFaces, Sighting
from rffr_jax.predict.inputs import IMAGE
from rffr_jax.predict.records import face_record, file_record, largest_sighting

if TYPE_CHECKING:
    from rffr_jax.predict.detector import LoadedDetector

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """The verdict on a face or a file.

    Attributes:
      record: its entry in predictions.json, without pictures.
    """

    record: dict[str, Any]

    @property
    def status(self) -> str:
        """`fake` above the threshold, else `real`; `unknown` where nothing can be judged.

        A file is `fake` if one of its faces is.
        """
        return self.record["status"]

    @property
    def score(self) -> float | None:
        """Raw, in [0, 1], of a file the highest of its faces; None where nothing can be judged."""
        return self.record["score"]

    @property
    def probability(self) -> float | None:
        """Calibrated, in [0, 1], for the same face as `score`; None without a calibration for this
        medium."""
        return self.record["probability"]

    @property
    def reason(self) -> str | None:
        """Why there is no score."""
        return self.record["reason"]


@dataclasses.dataclass(frozen=True, eq=False)
class FacePrediction(Verdict):
    """The verdict on one face.

    Attributes:
      crops: the aligned pixels that were scored, one a frame, by time; of a face without a score
        only those of the frame where it is largest.
      explanation: of the frame with the highest score; None for a face without a score.
    """

    crops: UInt8[np.ndarray, "frames size size 3"]
    explanation: Explanation | None

    @property
    def box(self) -> Box | None:
        """Left, top, right, bottom in pixels of the upright picture; None for a given crop."""
        box = self.record["box"]
        return box and tuple(box)

    def picture(self, note: str = "") -> Image.Image:
        """The evidence, or the crop of a face without a score.

        Args:
          note: text below the evidence.
        """
        if self.explanation is None:
            return Image.fromarray(self.crops[0])
        return self.explanation.picture(note)


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction(Verdict):
    """The verdict on a photograph or a video.

    Attributes:
      faces: the largest ones; usable faces first.
      note: a warning to show beside the score; '' if there is none.
    """

    faces: Sequence[FacePrediction]
    note: str = ""

    @property
    def threshold(self) -> Mapping[str, Any] | None:
        """`value`, `from`, `chosen_for` and `doubts`; None for a file that is no image and no
        video."""
        return self.record["threshold"]

    def __str__(self) -> str:
        score = "" if self.score is None else f" {self.score:.3f}"
        return f"{self.status}{score}{f': {self.reason}' if self.reason else ''}"


def predict_faces(
    detector: "LoadedDetector",
    files: Sequence[FoundFaces],
    rules: Mapping[str, DecisionRule],
    video_score: VideoScore,
    note: str = "",
) -> list[Prediction]:
    """The verdicts on files whose faces were found, with all their crops in one batch.

    Args:
      rules: by medium.
      video_score: how the score of a face in a video is formed.
      note: on how the faces were found, to follow the detector's own in `Prediction.note`.

    Raises:
      UserError: the detector's weights are broken.
    """
    size = detector.image_size
    usable = [crop for file in files for face in file.faces for crop in usable_crops(face)]
    crops = np.array(usable, np.uint8).reshape(-1, size, size, 3)
    scores, differences = detector.score_crops(crops)
    ends = np.cumsum([len(usable_crops(face)) for file in files for face in file.faces])
    rows = iter(np.split(np.arange(len(crops)), ends[:-1]))
    rows_by_file = [[next(rows) for _ in file.faces] for file in files]
    best = [int(own[scores[own].argmax()]) for faces in rows_by_file for own in faces if len(own)]
    explanations: Iterator[Explanation] = iter(())
    if best:
        some = None if differences is None else differences[best]
        explanations = iter(detector.explain_crops(crops[best], scores[best], some))
    note = "; ".join(filter(None, (detector.note, note)))
    predictions = []
    for file, rows_by_face in zip(files, rows_by_file, strict=True):
        rule = rules[file.source["kind"] if file.source else IMAGE]
        records = []
        for sightings, own in zip(file.faces, rows_by_face, strict=True):
            how, top_k = video_score.aggregate, video_score.top_k or 1
            records.append(face_record(sightings, scores[own], rule.value, how, top_k))
            if len(own):
                records[-1]["probability"] = rule.probability(records[-1]["score"])
        record = file_record(file, records, file.source and rule.record(records))
        faces = [
            FacePrediction(face, crops[own], next(explanations))
            if len(own)
            else FacePrediction(face, largest_sighting(sightings).crop[None], None)
            for face, sightings, own in zip(record["faces"], file.faces, rows_by_face, strict=True)
        ]
        predictions.append(Prediction(record, faces, note))
    return predictions


def usable_crops(sightings: Sequence[Sighting]) -> list[UInt8[np.ndarray, "size size 3"]]:
    """The crops of a face that can be scored, by time."""
    return [sighting.crop for sighting in sightings if sighting.usable]
