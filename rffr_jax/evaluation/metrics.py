"""The numbers of an evaluation, from labels (0 = real, 1 = fake) and scores (higher = fake).

The arithmetic of the curves is scikit-learn's; equal scores are one threshold everywhere, so no
number depends on the order of the examples. Only accuracy looks at the values of the scores; the
others are unchanged by any strictly increasing transform of them, save `video_auc`, which averages.
"""

import statistics
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer

from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, REAL, Example

Labels = Integer[np.ndarray, " n"]
Scores = Float[np.ndarray, " n"]
DRAWS = 10  # of a single frame a video


def auc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve: P(fake scores above real) + P(equal) / 2.

    Raises:
      ValueError: one class only, another label than 0 and 1, or a score that is not finite. The
        same holds for every function of this file.
    """
    from sklearn.metrics import roc_auc_score  # slow to import, and `predict` measures nothing

    _check_inputs(labels, scores)
    return float(roc_auc_score(labels, scores))


def average_precision(labels: Labels, scores: Scores) -> float:
    """Sum over thresholds of (recall gained) x (precision there), fakes being the positives."""
    from sklearn.metrics import average_precision_score

    _check_inputs(labels, scores)
    return float(average_precision_score(labels, scores))


def eer(labels: Labels, scores: Scores) -> float:
    """Equal error rate: the false positive rate where the ROC curve, drawn with straight lines
    between its points, meets the line FPR = FNR = 1 - TPR.
    """
    fpr, tpr = roc_points(labels, scores)
    excess = fpr - (1.0 - tpr)  # rises from -1 to 1, strictly
    after = int(np.argmax(excess >= 0.0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    return float(fpr[before] + share * (fpr[after] - fpr[before]))


def accuracy(labels: Labels, scores: Scores) -> float:
    """Share of examples on the right side of 0.5; a score of exactly 0.5 says "real"."""
    _check_inputs(labels, scores)
    return float(np.mean((scores > 0.5) == (labels == FAKE)))


def tpr_at_fpr(labels: Labels, scores: Scores, max_fpr: float) -> float:
    """The largest share of fakes found by a threshold that flags at most `max_fpr` of the reals.

    Nothing is interpolated: only thresholds that exist count. With n reals the false positive rate
    moves in steps of 1/n, so for n < 1/max_fpr no real at all may be flagged.
    """
    fpr, tpr = roc_points(labels, scores)
    return float(tpr[fpr <= max_fpr].max())


def video_auc(examples: Sequence[Example], scores: Scores) -> float:
    """AUC over videos, the score of a video being the mean over its frames (rounded once, so that
    videos of equal frames tie).

    A video is known by dataset, method and video together (and its label): the folders of four
    manipulations use the same names for different videos.
    """
    frames = group_scores_by_video(examples, scores)
    labels = np.array([key[0] for key in frames])
    means = np.array([statistics.mean(values) for values in frames.values()])
    return auc(labels, means)


def single_frame_aucs(
    examples: Sequence[Example], scores: Scores, draws: int = DRAWS
) -> Float[np.ndarray, " draws"] | None:
    """AUCs of one frame a video, drawn anew each time: the effect of the choice of the frame.

    The same examples give the same draws, in whatever order they come.

    Returns:
      None where no video has several frames.
    """
    frames = {
        key: sorted(values) for key, values in group_scores_by_video(examples, scores).items()
    }
    if all(len(values) == 1 for values in frames.values()):
        return None
    videos = sorted(frames)
    labels = np.array([key[0] for key in videos])
    rng = np.random.default_rng(0)
    return np.array(
        [
            auc(labels, np.array([frames[key][rng.integers(len(frames[key]))] for key in videos]))
            for _ in range(draws)
        ]
    )


def group_scores_by_video(
    examples: Sequence[Example], scores: Scores
) -> dict[tuple[int, str, str, str], list[float]]:
    """Scores of the frames of every video, by (label, dataset, method, video)."""
    frames: dict[tuple[int, str, str, str], list[float]] = {}
    for example, score in zip(examples, scores, strict=True):
        key = (example.label, example.dataset, example.method, example.video)
        frames.setdefault(key, []).append(float(score))
    return frames


def roc_points(
    labels: Labels, scores: Scores
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """(false positive rate, true positive rate) at every distinct score, from (0, 0) to (1, 1)."""
    from sklearn.metrics import roc_curve

    _check_inputs(labels, scores)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    return fpr, tpr


def class_counts(labels: Labels) -> dict[str, int]:
    """How many reals (`n_real`) and fakes (`n_fake`) there are."""
    return {
        "n_real": int(np.count_nonzero(labels == REAL)),
        "n_fake": int(np.count_nonzero(labels == FAKE)),
    }


def require_both_classes(labels: Labels, dataset: str) -> None:
    """Refuses a test set on which no AUC exists.

    Raises:
      UserError: `labels` holds no real or no fake.
    """
    present = set(labels.tolist())
    missing = [name for label, name in ((REAL, "real"), (FAKE, "fake")) if label not in present]
    if missing:
        raise UserError(
            f"dataset '{dataset}' has no usable {' and no '.join(missing)} image among "
            f"{len(labels)}: an evaluation needs both classes, check its labels and filters"
        )


def _check_inputs(labels: Labels, scores: Scores) -> None:
    if set(labels.tolist()) != {REAL, FAKE}:
        raise ValueError(f"labels must hold 0 and 1, both, got {sorted(set(labels.tolist()))}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores))} scores are not finite")
