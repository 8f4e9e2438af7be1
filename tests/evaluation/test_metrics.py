import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.evaluation import metrics
from rffr_jax.examples import Example

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.6, 0.2, 0.55, 0.7, 0.9])


def random_set(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [37, 53]))
    scores = rng.normal(size=90) + 0.8 * labels
    return labels, np.round(scores) if ties else scores


def auc_by_pairs(labels, scores) -> float:
    wins = [
        1.0 if fake > real else 0.5 if fake == real else 0.0
        for fake in scores[labels == 1]
        for real in scores[labels == 0]
    ]
    return sum(wins) / len(wins)


def rates(labels, scores) -> list[tuple[float, float]]:
    """(fpr, tpr) of "flag everything at or above t" for every t, the strictest first."""
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    return [
        (np.mean(scores[labels == 0] >= t), np.mean(scores[labels == 1] >= t)) for t in thresholds
    ]


def average_precision_by_thresholds(labels, scores) -> float:
    total, found = 0.0, 0.0
    for t in sorted(set(scores), reverse=True):
        recall = np.mean(scores[labels == 1] >= t)
        total += (recall - found) * np.mean(labels[scores >= t])
        found = recall
    return total


def eer_by_search(labels, scores) -> float:
    """Bisection on the length along the ROC's polyline for FPR = FNR."""
    points = np.array(rates(labels, scores))
    along = np.arange(len(points), dtype=float)
    low, high = 0.0, along[-1]
    for _ in range(100):
        middle = (low + high) / 2
        fpr, tpr = (np.interp(middle, along, points[:, i]) for i in (0, 1))
        low, high = (middle, high) if fpr < 1 - tpr else (low, middle)
    return float(np.interp(low, along, points[:, 0]))


def test_an_example_worked_by_hand():
    # fake 0.2 beats 0.1 and ties with 0.2; 0.55 beats three; 0.7 and 0.9 beat all four
    assert metrics.auc(LABELS, SCORES) == (1.5 + 3 + 4 + 4) / 16
    # 0.55, 0.7 and 0.9 found; of the reals 0.6 is flagged
    assert metrics.accuracy(LABELS, SCORES) == 6 / 8
    # four reals: not one of them may be flagged at 1 %
    assert metrics.tpr_at_fpr(LABELS, SCORES, 1e-2) == 2 / 4
    assert metrics.tpr_at_fpr(LABELS, SCORES, 0.25) == 3 / 4
    # at threshold 0.55 one real of four is flagged and one fake of four is missed
    assert metrics.eer(LABELS, SCORES) == 1 / 4
    # thresholds 0.9, 0.7, 0.55 (behind 0.6) and 0.2 each gain a quarter of the fakes
    assert metrics.average_precision(LABELS, SCORES) == pytest.approx(
        (1 + 1 + 3 / 4 + 4 / 7) / 4, abs=1e-15
    )


def test_eer_between_two_points_is_interpolated():
    # (0, 0) -> (0, 1/2) -> (1, 1/2) -> (1, 1): FPR = 1 - TPR at FPR = 1/2
    assert metrics.eer(np.array([1, 0, 1]), np.array([3.0, 2.0, 1.0])) == 0.5
    # one tied threshold (1/3, 1/2), then straight to (1, 1); fpr + tpr = 1 on that line
    labels = np.array([1, 0, 1, 0, 0])
    scores = np.array([2.0, 2.0, 1.0, 1.0, 1.0])
    share = (1 - 1 / 3 - 1 / 2) / (2 / 3 + 1 / 2)
    assert metrics.eer(labels, scores) == pytest.approx(1 / 3 + share * 2 / 3, abs=1e-15)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_against_definitions_in_loops(seed, ties):
    labels, scores = random_set(seed, ties)
    assert metrics.auc(labels, scores) == pytest.approx(auc_by_pairs(labels, scores), abs=1e-12)
    assert metrics.average_precision(labels, scores) == pytest.approx(
        average_precision_by_thresholds(labels, scores), abs=1e-12
    )
    assert metrics.eer(labels, scores) == pytest.approx(eer_by_search(labels, scores), abs=1e-9)
    for limit in (1e-2, 0.1, 0.5):
        best = max(tpr for fpr, tpr in rates(labels, scores) if fpr <= limit)
        assert metrics.tpr_at_fpr(labels, scores, limit) == best


@pytest.mark.parametrize("ties", [False, True])
def test_order_of_the_examples_does_not_matter(ties):
    labels, scores = random_set(0, ties)
    order = np.random.default_rng(1).permutation(len(labels))
    functions = (metrics.auc, metrics.average_precision, metrics.eer, metrics.accuracy)
    for function in functions:
        assert function(labels, scores) == function(labels[order], scores[order])


@pytest.mark.parametrize("ties", [False, True])
def test_increasing_transforms_change_nothing(ties):
    labels, scores = random_set(0, ties)
    bent = np.exp(scores) - 7
    for function in (metrics.auc, metrics.average_precision, metrics.eer):
        assert function(labels, scores) == function(labels, bent)
    assert metrics.tpr_at_fpr(labels, scores, 0.1) == metrics.tpr_at_fpr(labels, bent, 0.1)


def test_swapping_the_classes_mirrors_the_auc_and_keeps_the_eer():
    labels, scores = random_set(3, ties=True)
    mirrored = metrics.auc(1 - labels, scores)
    assert metrics.auc(labels, scores) == pytest.approx(1 - mirrored, abs=1e-12)
    assert metrics.eer(1 - labels, -scores) == pytest.approx(metrics.eer(labels, scores), abs=1e-12)


def test_extremes():
    labels = np.array([0, 0, 1, 1])
    perfect, constant = np.array([0.1, 0.2, 0.8, 0.9]), np.full(4, 0.5)
    assert (metrics.auc(labels, perfect), metrics.eer(labels, perfect)) == (1, 0)
    assert metrics.eer(labels, -perfect) == 1
    assert (metrics.auc(labels, constant), metrics.eer(labels, constant)) == (0.5, 0.5)
    assert metrics.accuracy(labels, constant) == 0.5
    assert metrics.tpr_at_fpr(labels, constant, 1e-2) == 0


def test_one_false_alarm_in_a_hundred_reals_is_allowed_at_one_per_cent():
    scores = np.concatenate([np.linspace(0, 0.4, 99), [0.8], [0.5, 0.9]])
    labels = np.repeat([0, 1], [100, 2])
    assert metrics.tpr_at_fpr(labels, scores, 1e-2) == 1
    assert metrics.tpr_at_fpr(labels[1:], scores[1:], 1e-2) == 0.5


def frame(method: str, video: str, number: int, dataset: str = "d") -> Example:
    id = f"{dataset}/{method}/{video}/{number}"
    return Example(id, id, int(method != "real"), dataset, method, video, number, video)


def test_video_scores_are_means_over_frames():
    examples = [frame("real", "000", 0), frame("real", "000", 1), frame("A", "000_003", 0)]
    assert metrics.video_auc(examples, np.array([0.9, 0.2, 0.6])) == 1
    assert metrics.auc(np.array([0, 0, 1]), np.array([0.9, 0.2, 0.6])) == 0.5


def test_videos_of_the_same_name_stay_apart():
    # keyed by folder name alone, 000_003 would be one video of score 0.5 that ties with the real
    examples = [frame("real", "001", 0), frame("A", "000_003", 0), frame("B", "000_003", 0)]
    assert metrics.video_auc(examples, np.array([0.5, 0.2, 0.8])) == 0.5
    examples.append(frame("A", "000_003", 0, dataset="other"))
    assert metrics.video_auc(examples, np.array([0.5, 0.2, 0.8, 0.9])) == 2 / 3
    # a real and a fake of one name, in a list that names no methods
    real = Example("r", "r", 0, "d", "", "v", 0, "v")
    fake = Example("f", "f", 1, "d", "", "v", 0, "v")
    assert metrics.video_auc([real, fake], np.array([0.1, 0.9])) == 1


def test_videos_of_equal_frames_tie():
    """The mean of three times 0.1 is 0.1, and not 0.10000000000000002."""
    examples = [frame("real", "a", 0), *(frame("A", "b", number) for number in range(3))]
    for score in (0.1, 0.7, 1 / 3, 1e-300):
        assert metrics.video_auc(examples, np.full(4, score)) == 0.5
    tenths = [frame("real", "a", number) for number in range(10)] + [frame("A", "b", 0)]
    assert metrics.video_auc(tenths, np.full(11, 0.1)) == 0.5


def test_video_auc_does_not_depend_on_the_order_of_frames():
    rng = np.random.default_rng(0)
    examples = [
        frame(method, f"{video}", i)
        for method in ("real", "A")
        for video in range(9)
        for i in range(7)
    ]
    scores = rng.random(len(examples))
    order = rng.permutation(len(examples))
    shuffled = metrics.video_auc([examples[i] for i in order], scores[order])
    assert metrics.video_auc(examples, scores) == shuffled


@pytest.mark.parametrize(
    "function",
    [metrics.auc, metrics.average_precision, metrics.eer, metrics.accuracy, metrics.roc_points],
)
def test_input_without_an_answer_is_an_error(function):
    with pytest.raises(ValueError, match="not finite"):
        function(np.array([0, 1]), np.array([0.5, np.nan]))
    with pytest.raises(ValueError, match="labels"):
        function(np.array([1, 1]), np.array([0.5, 0.4]))
    with pytest.raises(ValueError, match="labels"):
        function(np.array([0, 2]), np.array([0.5, 0.4]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0], "dataset 'celeb' has no usable fake image among 2"),
        ([1], "dataset 'celeb' has no usable real image among 1"),
        ([], "dataset 'celeb' has no usable real and no fake image among 0"),
    ],
)
def test_a_missing_class_is_named_in_one_line(labels, message):
    with pytest.raises(UserError, match=message) as caught:
        metrics.require_both_classes(np.array(labels, dtype=np.int64), "celeb")
    assert "\n" not in str(caught.value)


def test_both_classes_are_fine():
    metrics.require_both_classes(np.array([0, 1]), "celeb")


@pytest.mark.slow
def test_draws_of_a_single_frame_are_aucs_of_one_frame_a_video():
    rng = np.random.default_rng(8)
    frames = {f"{label}/{n}": rng.random(rng.integers(1, 5)) for label in (0, 1) for n in range(6)}
    examples, scores = [], []
    for video, values in frames.items():
        label = int(video[0])
        for number, score in enumerate(values):
            name = f"{video}/{number}"
            examples.append(Example(name, name, label, "d", "m" if label else "real", video, 0, ""))
            scores.append(score)
    found = metrics.single_frame_aucs(examples, np.array(scores))
    assert found is not None
    assert len(found) == metrics.DRAWS
    assert len({*found}) > 1

    many = metrics.single_frame_aucs(examples, np.array(scores), draws=4000)
    assert many is not None
    chances = [
        np.mean([0.5 * (f == r) + (f > r) for f in frames[f"1/{i}"] for r in frames[f"0/{j}"]])
        for i in range(6)
        for j in range(6)
    ]
    assert many.mean() == pytest.approx(np.mean(chances), abs=0.01)

    mixed = rng.permutation(len(examples))
    again = metrics.single_frame_aucs([examples[i] for i in mixed], np.array(scores)[mixed])
    np.testing.assert_array_equal(again, found)


def test_one_frame_a_video_leaves_nothing_to_draw():
    examples = [Example(f"{n}", "", n % 2, "d", "m", f"{n}", 0, "") for n in range(6)]
    assert metrics.single_frame_aucs(examples, np.arange(6.0)) is None
