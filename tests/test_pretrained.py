"""The model folder in pretrained/: whole, small, honest, and without names of people."""

import pathlib

import pytest

import rffr_jax
from rffr_jax.data.specs import load_dataset
from rffr_jax.runs.model_folder import read_config

FOLDER = pathlib.Path(__file__).parents[1] / "pretrained/rffr_jax_pretrained"
MOST_BYTES = 12 * 10**6


def test_it_is_whole_and_small_and_names_no_originals():
    detector = read_config(FOLDER / "detector", "detector")
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < MOST_BYTES
    point = detector["operating_point"]
    assert point["thresholds"]["image"]["n_real"] >= 300
    assert point["origins"] == {}
    assert point["calibrations"] == {"image": None, "video": None}
    (preparation,) = detector["about"]["preparations"]
    assert preparation["size"] == detector["about"]["detection"]["mae"]["image_size"]
    card = (FOLDER / "detector/README.md").read_text()
    assert "license: cc-by-nc-sa-4.0" in card
    assert "No rights in the photographs are given." in " ".join(card.split())


@pytest.mark.slow
def test_it_scores_and_shows_its_statement_first():
    detector = rffr_jax.load_detector(FOLDER / "detector")
    assert detector.note.startswith(
        "Research demonstration trained on home-made manipulations of about 350 people; on real "
        "deepfakes its accuracy is unknown and may be chance; no score is evidence about a person"
    )
    face = load_dataset("synthetic:0#test").load(0, detector.image_size)
    shown = detector.explain(face)
    assert 0 <= shown.score <= 1
    assert shown.relative_heat is not None
