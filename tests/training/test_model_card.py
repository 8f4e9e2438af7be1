"""The card that a finished training leaves beside its weights."""

import json
import re

import pytest

from configs import detect
from rffr_jax.data.origins import Origins
from rffr_jax.data.specs import load_dataset
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.training.detector_settings import detection_settings
from rffr_jax.training.model_card import write_model_card
from tests import jobs


@pytest.fixture(scope="module")
def card(detector):
    return read_card(detector)


def test_card_tells_data_settings_and_use(card, detector, faces, mae):
    for heading in ("Intended use", "Model", "Data", "Protocol", "Validation", "Limits"):
        assert f"\n## {heading}\n" in card
    assert "$" not in card.replace("$D", "")
    assert "| training | 6 | 6 | rows 6 | 6 |" in card
    assert "| validation: faces | 6 | 12 | columns 6, rows 6 | 6 |" in card
    assert f"`csv:{faces}/train.csv`" in card
    assert f"`{mae}`" in card
    assert "| classifier | a ViT for each of them: tiny, 48 px, patches of 12 px |" in card
    assert "6 originals of faces" in card
    assert "4 steps of 4 images" in card
    assert "Fakes of rows were trained on" in card
    assert f"--config.detector={detector}" in card


def test_card_holds_the_validation_numbers_of_the_run(card, detector):
    lines = [json.loads(line) for line in (detector / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["split"] == "faces"][-1]
    best = json.loads((detector / "best.json").read_text())
    for method, metric in (("all", "auc"), ("rows", "auc_rows"), ("columns", "auc_columns")):
        assert f"| faces | {method} | last, step 4 | {100 * last[metric]:.1f} |" in card
    for name, entry in best.items():
        assert f"| best:{name}, step {entry['step']} | {100 * entry['auc']:.1f} |" in card


@pytest.mark.slow
def test_card_of_a_detector_without_a_mae_or_validation(tmp_path, faces):
    flags = (f"data.train=csv:{faces}/train.csv", "data.validation=()", "selection=last")
    kind = ("detector.inputs=original", "detector.blocks=full", "steps=2")
    assert jobs.start("detect", tmp_path / "a | b", *flags, *kind) == 0
    card = read_card(tmp_path / "a | b")
    assert "No validation data was named" in card
    assert "only the image" in card
    assert "Its MAE" not in card


def test_card_warns_of_faces_that_were_drawn(tmp_path, faces):
    config = detect.get_config()
    settings = detection_settings_of(config)
    about = {
        "detection": settings.to_json(),
        "trained_methods": ["rows"],
        "trained_datasets": ["faces"],
        "preparations": [{"detector": "retinaface"}],
    }
    (tmp_path / "metrics.jsonl").write_text("")
    dataset = load_dataset(f"csv:{faces}/train.csv")
    sources = Origins(frozenset([("synthetic", "a"), ("synthetic", "b")]))
    check = {"mae": 1.02, "to_ridge": 1.02, "to_telea": 1.02, "to_training": 1.02}
    check |= {"ridge": 1.0, "telea": 1.0, "mean_face": 2.0}
    shortcuts = ["reals differ in size"]
    write_model_card(tmp_path, config, about, dataset, {}, sources, shortcuts, check)
    card = read_card(tmp_path)
    assert "is 1.0200: 1.02 times that of a ridge regression, 1.02 times that of Telea" in card
    assert "its residuals show what it cannot draw" in card
    assert card.splitlines()[2].startswith("> **This detector was trained on procedural faces")
    assert "2 originals of synthetic" in card
    assert "- **Shortcut**: reals differ in size." in card
    assert '`{"detector": "retinaface"}`' in card


@pytest.mark.parametrize(
    ("variant", "optimizer"),
    [
        ("", "AdamW, learning rate 2e-05 (constant, 0 steps of warm-up), weight decay 0"),
        (
            "sbi",
            "SGD with sharpness-aware minimisation (rho 0.05), learning rate 0.001 "
            "(last_quarter, 0 steps of warm-up), weight decay 0",
        ),
        (
            "recce",
            "Adam, learning rate 0.0002 (constant, 0 steps of warm-up, halved every 22500 steps), "
            "weight decay 1e-05",
        ),
    ],
)
def test_card_names_the_optimizer_and_the_paper_of_its_detector(
    tmp_path, faces, variant, optimizer
):
    config = detect.get_config(variant)
    settings = detection_settings(config)[0] if variant else detection_settings_of(config)
    about = {
        "detection": settings.to_json(),
        "trained_methods": ["rows"],
        "trained_datasets": ["faces"],
        "preparations": [],
    }
    write_model_card(tmp_path, config, about, load_dataset(f"csv:{faces}/train.csv"), {}, Origins())
    card = read_card(tmp_path)
    assert f"\n- {optimizer}.\n" in card
    assert ("Real Face Foundation" in card) == (not variant)
    assert "gives a score in [0, 1], which is no probability" in card
    assert "gives the probability" not in card


def read_card(workdir):
    """The card, without the spaces that align its tables."""
    return re.sub(" +", " ", (workdir / "model_card.md").read_text(encoding="utf-8"))


def detection_settings_of(config):
    model = ModelSettings(**config.model)
    return DetectionSettings(
        model=model, mae=model, inputs="both", blocks="random", residual="mae", k=4, alpha=4.0,
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
    )  # fmt: skip
