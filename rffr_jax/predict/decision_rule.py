"""The threshold that faces of images, or of videos, are judged by, and why it may not fit."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.errors import UserError
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.evaluation.operating_point import OperatingPoint
from rffr_jax.evaluation.threshold import Threshold
from rffr_jax.predict.inputs import IMAGE, VIDEO

CONFIG, VALIDATION, DEFAULT = "config", "validation data", "default"


@dataclasses.dataclass(frozen=True)
class DecisionRule:
    """How the faces of an image, or of a video, are judged.

    Attributes:
      value: a raw score above it is `fake`.
      origin: of the value: `config`, `validation data` or `default`.
      threshold: the detector's threshold for this medium, or for images where it has only that.
      video_score: how the score of a face is formed; None for single images.
    """

    value: float
    origin: str
    threshold: Threshold
    video_score: VideoScore | None

    def probability(self, score: float) -> float | None:
        """Calibrated; None without a calibration of scores that are formed in the same way."""
        calibration = self.threshold.calibration
        if calibration is None or self.threshold.video_score != self.video_score:
            return None
        return float(calibration.probabilities(np.array([score]))[0])

    def to_json(self) -> dict[str, Any]:
        """Its entry of `thresholds` in predictions.json."""
        facts = self.threshold.to_json()
        if self.origin != VALIDATION:
            facts = dict.fromkeys(facts)
        return facts | {"value": self.value, "from": self.origin, "chosen_for": self._chosen_for}

    def record(self, faces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """`threshold` of a file's entry in predictions.json.

        Args:
          faces: of the file, as `records.face_record` gives them.
        """
        return {
            "value": self.value,
            "from": self.origin,
            "chosen_for": self._chosen_for,
            "doubts": self.doubts(faces),
        }

    @property
    def _chosen_for(self) -> str | None:
        if self.origin != VALIDATION:
            return None
        return VIDEO if self.threshold.video_score else IMAGE

    def doubts(self, faces: Sequence[Mapping[str, Any]]) -> list[str]:
        """Why the faces may have another rate of false alarms than the threshold was chosen for.

        Empty for a threshold that no data chose.
        """
        if self.origin != VALIDATION:
            return []
        doubts = []
        chosen, frames = self.threshold.video_score, [len(f["frames"]) for f in faces]
        judged = [count for count in frames if count]
        if self.video_score != chosen:
            on = f"the {chosen}" if chosen else "single images"
            doubts.append(
                f"the threshold was chosen on {on}; it may not fit the {self.video_score}"
            )
        elif chosen and judged and not chosen.fits(min(judged)):
            doubts.append(
                f"the threshold was chosen on the {chosen}; it may not fit a face that was judged "
                f"in {min(judged)}"
            )
        if len(judged) > 1:
            doubts.append(
                f"the threshold was chosen on one face; the highest of {len(judged)} lies above it "
                f"up to {len(judged)} times as often"
            )
        return doubts


def decision_rules(
    point: OperatingPoint, threshold: float | None, video_score: VideoScore
) -> dict[str, DecisionRule]:
    """The rules for images and for videos.

    Args:
      point: of the detector.
      threshold: `--config.threshold`, which replaces both thresholds of the detector.
      video_score: how scores of videos are formed; the score of one frame is that of an image.

    Raises:
      UserError: as for `check_threshold`.
    """
    check_threshold(threshold)
    chosen = {IMAGE: point.image, VIDEO: point.video or point.image}
    formed = {IMAGE: None, VIDEO: video_score}
    if video_score.frames == 1:
        chosen[VIDEO], formed[VIDEO] = point.image, None
    rules = {}
    for medium, nearest in chosen.items():
        origin, value = VALIDATION if point.chosen_on else DEFAULT, nearest.value
        if threshold is not None:
            origin, value = CONFIG, threshold
        rules[medium] = DecisionRule(value, origin, nearest, formed[medium])
    return rules


def check_threshold(threshold: float | None):
    """Raises: UserError if a threshold does not lie in [0, 1]."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise UserError(f"threshold={threshold}; it must lie in [0, 1], as scores do")


def describe_thresholds(thresholds: Mapping[str, Mapping[str, Any]]) -> str:
    """`thresholds` of predictions.json in words."""
    image, video = thresholds[IMAGE], thresholds[VIDEO]
    text = f"{image['value']:.3f}"
    if image["value"] != video["value"]:
        text += f" for images and {video['value']:.3f} for videos"
    return f"{text} ({image['from']})"
