import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rffr_jax.data.examples import Example
from rffr_jax.errors import UserError
from rffr_jax.evaluation.plots import (
    contact_sheet,
    image_pixels,
    plot_roc,
    plot_training_curves,
    residual_pixels,
)
from rffr_jax.evaluation.predictions import Predictions

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
        ("", "nothing to draw"),
        ('{"step": 1, "split": "train", "images_per_second": 3.0}\n', "nothing to draw"),
        ('{"step": 1, "loss": 1.0}\n{"step": 2, "lo', "line 2"),
        ('{"loss": 1.0}\n', "line 1"),
        ("[1]\n", "line 1"),
        ("3\n", "line 1"),
    ],
)
def test_logs_that_cannot_be_drawn(tmp_path, text, message):
    log = tmp_path / "metrics.jsonl"
    log.write_text(text)
    with pytest.raises(UserError, match=message):
        plot_training_curves(tmp_path / "curves.png", log)
    assert not (tmp_path / "curves.png").exists()


def test_a_missing_log_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        plot_training_curves(tmp_path / "curves.png", tmp_path / "metrics.jsonl")


def test_pyplot_is_never_loaded():
    code = "import sys, rffr_jax.evaluation.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_pixels_of_images_and_residuals():
    image = np.array([[[-0.1, 0.0, 0.5], [0.2, 1.0, 1.3]]])
    np.testing.assert_array_equal(image_pixels(image), [[[0, 0, 128], [51, 255, 255]]])
    residual = np.array([[[-1.0, 0.0, 1.0], [-2.0, 0.2, -0.2]]], dtype=np.float32)
    np.testing.assert_array_equal(residual_pixels(residual), [[[0, 128, 255], [0, 153, 102]]])


@pytest.mark.parametrize(
    ("size", "factor"), [((32, 32), 6), ((64, 64), 3), ((64, 48), 3), ((224, 224), 1)]
)
def test_sheet_shows_every_pixel(tmp_path, size, factor):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, *size, 3), dtype=np.uint8)
    path = tmp_path / "sheet.png"
    contact_sheet(path, [list(row) for row in images], ["a", "b", "c"])
    sheet = pixels(path)
    height, width = factor * size[0], factor * size[1]
    for i, row in enumerate(images):
        for j, image in enumerate(row):
            top, left = 31 + i * (height + 8), 8 + j * (width + 8)
            shown = sheet[top : top + height, left : left + width]
            np.testing.assert_array_equal(shown, np.kron(image, np.ones((factor, factor, 1))))
    assert sheet.shape == (31 + 2 * (height + 8), 8 + 3 * (width + 8), 3)


def test_sheet_widens_its_columns_for_long_titles(tmp_path):
    black = np.zeros((64, 64, 3), np.uint8)
    contact_sheet(tmp_path / "short.png", [[black, black]], ["a", ""])
    contact_sheet(tmp_path / "long.png", [[black, black]], ["manipulated " * 5, "b"])
    short, long = pixels(tmp_path / "short.png"), pixels(tmp_path / "long.png")
    assert long.shape[1] > short.shape[1]
    assert (long == 0).all(axis=2).sum() >= 2 * 192 * 192
    # title ink: above the first column only, and never cut by the edge
    assert (short[:31, :200] < 128).any()
    assert (short[:31, 208:] == 255).all()
    assert (long[:, 0] == 255).all()
    assert (long[0] == 255).all()


def test_a_note_stands_below_the_images(tmp_path):
    black = np.zeros((64, 64, 3), np.uint8)
    note = "procedural faces and manipulations: this says nothing about real deepfakes"
    sheets = {}
    for name, text in (("plain", ""), ("noted", note)):
        contact_sheet(tmp_path / f"{name}.png", [[black]], ["a"], text)
        sheets[name] = pixels(tmp_path / f"{name}.png")
    height, width, _ = sheets["plain"].shape
    np.testing.assert_array_equal(sheets["noted"][:height], sheets["plain"])
    below = sheets["noted"][height:] < 128
    assert below.any()
    assert not below[:, : 8 // 2].any()
    assert not below[:, width - 8 // 2 :].any()  # broken into lines that fit


def test_a_note_stands_below_the_curves(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1, "split": "train", "loss": 1.0}\n' * 2)
    plot_training_curves(tmp_path / "plain.png", log)
    plot_training_curves(tmp_path / "noted.png", log, "says nothing $ about _real_ deepfakes")
    plain, noted = (pixels(tmp_path / f"{name}.png") for name in ("plain", "noted"))
    assert plain.shape == noted.shape
    strip = slice(-16, None)
    assert (plain[strip] < 128).sum() < (noted[strip] < 128).sum()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[np.zeros((4, 4, 3), np.uint8)]],
        [[np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)]],
        [[np.zeros((4, 4, 3)), np.zeros((4, 4, 3))]],
        [[np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 1), np.uint8)]],
    ],
)
def test_sheet_refuses_what_does_not_fit(tmp_path, rows):
    with pytest.raises(ValueError, match="need"):
        contact_sheet(tmp_path / "sheet.png", rows, ["a", "b"])
