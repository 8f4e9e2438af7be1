"""The thresholds of a detector's verdicts: one for single images and one for videos."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from rffr_jax.data.origins import Origins
from rffr_jax.data.selection import keep_frames, select_examples
from rffr_jax.evaluation import calibration, metrics
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.threshold import (
    CHANCE_AUC,
    Threshold,
    choose_threshold,
    expected_fpr,
)
from rffr_jax.examples import REAL, Dataset, Example

RECORD = "operating_point"


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """Thresholds with their calibrations, and the validation data that all come from.

    Attributes:
      image: for the score of a single image; 0.5 where nothing was chosen.
      video: for the score of a video; None where no validation video had several frames.
      chosen_on: specs of the validation data; empty where nothing was chosen.
      origins: of the validation data.
    """

    image: Threshold = dataclasses.field(default_factory=Threshold)
    video: Threshold | None = None
    chosen_on: tuple[str, ...] = ()
    origins: Origins = dataclasses.field(default_factory=Origins)

    def to_json(self) -> dict[str, Any]:
        """`thresholds`, `calibrations` and `chosen_on`, as JSON files have them."""
        media = {"image": self.image, "video": self.video}
        return {
            "thresholds": {name: one and one.to_json() for name, one in media.items()},
            "calibrations": {
                name: one and one.calibration and calibration.to_json(one.calibration)
                for name, one in media.items()
            },
            "chosen_on": list(self.chosen_on),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "OperatingPoint":
        """The operating point in the record of `write_operating_point`.

        Raises:
          KeyError, TypeError, ValueError, AttributeError, OverflowError: another record.
        """
        thresholds, calibrations = record["thresholds"], record["calibrations"]
        video = thresholds["video"]
        return cls(
            image=Threshold.from_json(thresholds["image"], calibrations["image"]),
            video=video and Threshold.from_json(video, calibrations["video"]),
            chosen_on=tuple(map(str, record["chosen_on"])),
            origins=Origins.from_json(record["origins"]),
        )


DEFAULT_OPERATING_POINT = OperatingPoint()


def write_operating_point(detector: Path, checkpoint: str, point: OperatingPoint, weights: str):
    """Writes an operating point beside the detector.

    Args:
      detector: its workdir or model folder.
      weights: digest of the weights that it was chosen for.
    """
    from rffr_jax.runs.weight_records import write_record  # imports JAX

    record = {**point.to_json(), "origins": point.origins.to_json()}
    write_record(detector, RECORD, checkpoint, weights, record)


def read_operating_point(detector: Path, checkpoint: str, weights: str) -> OperatingPoint:
    """Reads the record of `write_operating_point`.

    Returns:
      `DEFAULT_OPERATING_POINT` if there is no record, or if it belongs to other weights.

    Raises:
      UserError: the file is damaged.
    """
    from rffr_jax.runs.weight_records import read_valid_record  # imports JAX

    point = read_valid_record(detector, RECORD, checkpoint, weights, OperatingPoint.from_json)
    return point or DEFAULT_OPERATING_POINT


def describe_test_overlap(origins: Origins, tests: Sequence[Example]) -> str:
    """Says which tested examples are of originals, or files, that are to choose; empty if none."""
    shared = [example for example in tests if origins.contains(example)]
    if not shared:
        return ""
    first = shared[0]
    return (
        f"{len(shared)} of {len(tests)} test images share their original or file with it, the "
        f"first '{first.id}' of dataset '{first.dataset}'"
    )


def choose_operating_point(
    images: Predictions,
    videos: Predictions | None,
    video_score: VideoScore,
    specs: Sequence[str],
    max_fpr: float,
    method: str,
    worst_source: bool = False,
) -> OperatingPoint:
    """Thresholds and calibrations from the scores of validation data.

    Args:
      images: of both classes.
      videos: frames of videos that have several; None if there are none.
      video_score: how the score of a video is formed of its frames.
      specs: what the data are called.
      max_fpr, method: as for `choose_threshold`.
      worst_source: whether `max_fpr` is to hold in every data set, not over all together.
    """
    of_videos = None
    origins = Origins.from_examples(images.examples)
    if videos is not None and (videos.labels == REAL).any():
        scored = score_videos(videos, video_score)
        score_of_most = dataclasses.replace(video_score, frames=scored.most_frames)
        sources = scored.datasets if worst_source else ()
        of_videos = choose_threshold(
            scored.labels, scored.scores, max_fpr, method, score_of_most, sources
        )
        origins = Origins.from_examples([*images.examples, *videos.examples])
    sources = [example.dataset for example in images.examples] if worst_source else ()
    return OperatingPoint(
        image=choose_threshold(images.labels, images.scores, max_fpr, method, sources=sources),
        video=of_videos,
        chosen_on=tuple(specs),
        origins=origins,
    )


class ScoredVideos(NamedTuple):
    """Labels, scores and data sets of videos, and the most frames of one."""

    labels: Int64[np.ndarray, " videos"]
    scores: Float64[np.ndarray, " videos"]
    datasets: Sequence[str]
    most_frames: int


def score_videos(
    predictions: Predictions, video_score: VideoScore, min_frames: int = 1
) -> ScoredVideos:
    """The videos with `min_frames` or more."""
    videos = metrics.group_scores_by_video(predictions.examples, predictions.scores)
    videos = {video: scores for video, scores in videos.items() if len(scores) >= min_frames}
    labels = np.array([label for label, *_ in videos], np.int64)
    scores = [video_score.score(np.array(frames)) for frames in videos.values()]
    datasets = [dataset for _, dataset, *_ in videos]
    most_frames = max(map(len, videos.values()), default=0)
    return ScoredVideos(labels, np.array(scores), datasets, most_frames)


def select_multi_frame_videos(dataset: Dataset, count: int) -> Dataset | None:
    """Up to `count` evenly spaced frames of every video that has several frames, 0 taking all.

    None where no real video has several, or one frame is wanted.
    """
    sizes = collections.Counter(map(_video_key, dataset.examples))
    rows = [i for i, example in enumerate(dataset.examples) if sizes[_video_key(example)] > 1]
    if count == 1 or not any(dataset.examples[i].label == REAL for i in rows):
        return None
    return keep_frames(select_examples(dataset, rows), count)


def _video_key(example: Example) -> tuple[str, str, str, int]:
    return example.dataset, example.method, example.video, example.label


def explain_missing_calibration(threshold: Threshold) -> str:
    """Why there is no calibration beside a threshold."""
    what = "videos" if threshold.video_score else "single images"
    if threshold.auc is None:
        return f"no calibration for {what}: there are no fakes among them in the validation data"
    reason = "probabilities would not rise with scores"
    if threshold.auc > CHANCE_AUC:
        reason = f"none was asked for, or {reason}"
    else:
        reason += ", because fakes do not score higher than reals"
    return f"no calibration for {what}: {reason} (validation AUC {threshold.auc:.3f})"


def threshold_warnings(point: OperatingPoint, trained: Mapping[str, Origins]) -> list[str]:
    """What the reader of a threshold must know."""
    if not point.chosen_on:
        return []
    said = []
    for threshold in filter(None, (point.image, point.video)):
        wanted = threshold.max_fpr
        assert wanted is not None
        for source, count in threshold.reals.items():
            expected = expected_fpr(count, wanted)
            if expected > wanted + 1e-9:
                reals = "real videos" if threshold.video_score else "reals"
                # Of a source that did not decide, the threshold is that high at least.
                said.append(
                    f"the threshold for {100 * wanted:g}% FPR"
                    + (f" in {source}" if source else "")
                    + f" is the highest of only {count} {reals} in data.validation: an FPR of "
                    f"{100 * expected:.2g}% is to be expected"
                )
        if threshold.calibration is None:
            said.append(explain_missing_calibration(threshold))
    seen = {model: point.origins.sources & origins.sources for model, origins in trained.items()}
    all_seen = set().union(*seen.values())
    if all_seen:
        counts = ", ".join(f"{model}: {len(sources)}" for model, sources in seen.items() if sources)
        said.append(
            f"{len(all_seen)} of {len(point.origins.sources)} originals in data.validation were "
            f"seen in training ({counts}): threshold and calibration are too sure of themselves"
        )
    return said


def frame_warnings(point: OperatingPoint, tested: Sequence[Example]) -> list[str]:
    """One warning a dataset of whose videos many have too few frames for the threshold of videos.

    A score that is a mean of fewer frames has a wider spread, so other rates.
    """
    chosen = point.video and point.video.video_score
    if not chosen:
        return []
    frames = collections.Counter(map(_video_key, tested))
    of_dataset: dict[str, list[int]] = collections.defaultdict(list)
    for (dataset, *_), count in frames.items():
        if count > 1:
            of_dataset[dataset].append(count)
    return [
        f"dataset '{dataset}': the threshold of videos was chosen on the {chosen}; "
        f"{sum(not chosen.fits(count) for count in counts)} of {len(counts)} test videos have "
        f"fewer than half as many (from {min(counts)}), so rates at that threshold may not fit; "
        "set --config.frames_per_video or --config.validation_frames"
        for dataset, counts in sorted(of_dataset.items())
        if not chosen.fits(min(counts))
    ]
