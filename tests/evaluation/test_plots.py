import itertools
import json

import numpy as np
import pytest
from PIL import Image

from rffr_jax.errors import UserError
from rffr_jax.evaluation import plots
from rffr_jax.evaluation.calibration import Platt, reliability
from rffr_jax.evaluation.plots import plot_roc, plot_training_curves
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import Example

TAB10_BLUE, TAB10_ORANGE = (31, 119, 180), (255, 127, 14)


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def has_colour(image: np.ndarray, colour) -> bool:
    return bool((image == np.array(colour, np.uint8)).all(axis=2).sum() > 50)


def predictions_of(methods: list[str], datasets: int = 1, count: int = 20) -> Predictions:
    rng = np.random.default_rng(0)
    examples = [
        Example(f"{m}/{i}", "", int(m != "real"), f"set ${d}", m, f"{i}", 0, f"{i}")
        for d in range(datasets)
        for m in ("real", *methods)
        for i in range(count)
    ]
    scores = rng.normal(size=len(examples)) + np.array([e.label for e in examples])
    return Predictions(examples, scores)


def test_roc_draws_a_curve_a_method(tmp_path):
    plot_roc(tmp_path / "one.png", predictions_of(["_a"]), "title")
    plot_roc(tmp_path / "two.png", predictions_of(["_a", "$b_c$"]), "title with a $ sign")
    one, two = pixels(tmp_path / "one.png"), pixels(tmp_path / "two.png")
    assert has_colour(one, TAB10_BLUE)
    assert not has_colour(one, TAB10_ORANGE)
    assert has_colour(two, TAB10_BLUE)
    assert has_colour(two, TAB10_ORANGE)


def test_roc_has_a_panel_a_dataset_and_does_not_depend_on_order(tmp_path):
    predictions = predictions_of([f"m{i}" for i in range(12)], datasets=4)
    plot_roc(tmp_path / "a.png", predictions, "many")
    height, width, _ = pixels(tmp_path / "a.png").shape
    assert (width, height) == (3 * 600, 2 * 600 + 48)
    order = np.random.default_rng(1).permutation(len(predictions.examples))
    shuffled = Predictions([predictions.examples[i] for i in order], predictions.scores[order])
    plot_roc(tmp_path / "b.png", shuffled, "many")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_roc_of_one_class_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"dataset 'set \$0' has no usable fake"):
        plot_roc(tmp_path / "roc.png", predictions_of([]), "title")
    assert not list(tmp_path.iterdir())


def write_log(path, records) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_training_curves_have_a_panel_for_what_is_there(tmp_path):
    log = tmp_path / "metrics.jsonl"
    train = [
        {"step": i, "split": "train", "loss": 1 / (i + 1), "learning_rate": 1e-3, "note": "text"}
        for i in range(5)
    ]
    write_log(log, train)
    plot_training_curves(tmp_path / "two.png", log)
    write_log(log, [*train, {"step": 4, "split": "validation", "synthetic/auc": 0.7}])
    plot_training_curves(tmp_path / "three.png", log)
    two, three = pixels(tmp_path / "two.png"), pixels(tmp_path / "three.png")
    assert three.shape[0] - two.shape[0] == round(2.6 * 120)
    assert has_colour(two, TAB10_BLUE)
    assert not has_colour(two, TAB10_ORANGE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name that of a training"),
        ('{"step": 1, "split": "train", "images_per_second": 3.0}\n', "name that of a training"),
        ('{"step": 1, "loss": 1.0}\n{"step": 2, "lo', "metrics.jsonl:2"),
        ('{"loss": 1.0}\n', "metrics.jsonl:1"),
        ("[1]\n", "metrics.jsonl:1"),
        ("3\n", "metrics.jsonl:1"),
    ],
)
def test_logs_that_cannot_be_drawn(tmp_path, text, message):
    log = tmp_path / "metrics.jsonl"
    log.write_text(text)
    with pytest.raises(UserError, match=message):
        plot_training_curves(tmp_path / "curves.png", log)
    assert not (tmp_path / "curves.png").exists()


def test_a_missing_log_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        plot_training_curves(tmp_path / "curves.png", tmp_path / "metrics.jsonl")


def test_a_note_stands_below_the_curves(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1, "split": "train", "loss": 1.0}\n' * 2)
    plot_training_curves(tmp_path / "plain.png", log)
    plot_training_curves(tmp_path / "noted.png", log, "says nothing $ about _real_ deepfakes")
    plain, noted = (pixels(tmp_path / f"{name}.png") for name in ("plain", "noted"))
    assert plain.shape == noted.shape
    strip = slice(-16, None)
    assert (plain[strip] < 128).sum() < (noted[strip] < 128).sum()


def test_reliability_draws_scores_and_what_mends_them(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "_save_png", lambda figure, path: figures.append(figure))
    part = predictions_of(["swap"], count=40)
    part = Predictions(part.examples, 1 / (1 + np.exp(-part.scores)))
    plots.plot_reliability(tmp_path / "r.png", part, "title", Platt(0.1, 0.0))
    (axes,) = figures[0].axes
    _, raw, mended = axes.lines
    found = reliability(part.labels, part.scores)
    expected = np.stack([found.mean_probability, found.fake_share], 1)
    np.testing.assert_allclose(raw.get_xydata(), expected, atol=1e-12)
    assert np.ptp(mended.get_xdata()) < 0.5 * np.ptp(raw.get_xdata())
    first, second = (text.get_text() for text in axes.get_legend().get_texts())
    assert first == f"{100 * found.ece:.1f}  score"
    assert second.endswith("  calibrated")


def test_histograms_have_a_panel_a_manipulation_against_all_reals(tmp_path, monkeypatch):
    figures = []
    save = plots._save_png
    monkeypatch.setattr(plots, "_save_png", lambda f, path: figures.append(f) or save(f, path))
    predictions = predictions_of(["b", "a$"], datasets=2, count=30)
    plots.plot_histograms(tmp_path / "h.png", predictions, "title")
    assert pixels(tmp_path / "h.png").shape[1] == 2 * round(3.4 * 120)
    panels = figures[0].axes
    titles = [f"set ${d}: {method}" for d in range(2) for method in ("a$", "b")]
    assert [axes.get_title() for axes in panels] == titles
    low, high = min(0, predictions.scores.min()), max(1, predictions.scores.max())
    for axes, title in zip(panels, titles, strict=True):
        name, method = title.split(": ")
        outlines = [patch for patch in axes.patches if not patch.get_fill()]
        for kind, outline in zip(("real", method), outlines, strict=True):
            scores = [
                score
                for example, score in zip(predictions.examples, predictions.scores, strict=True)
                if (example.dataset, example.method) == (name, kind)
            ]
            shares, edges, _ = outline.get_data()
            assert (edges[0], edges[-1]) == pytest.approx((low, high))
            expected = [
                100 * np.mean([a <= s < b or s == b == high for s in scores])
                for a, b in itertools.pairwise(edges)
            ]
            np.testing.assert_allclose(shares, expected)


def test_histograms_of_one_class_are_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="has no usable fake"):
        plots.plot_histograms(tmp_path / "h.png", predictions_of([]), "title")
