"""The model folders in pretrained/: whole, small, honest, and without names of people."""

import pathlib

import numpy as np
import pytest
from safetensors.numpy import load_file

import rffr_jax
from rffr_jax.data.specs import load_dataset
from rffr_jax.runs.model_folder import read_config

FOLDER = pathlib.Path(__file__).parents[1] / "pretrained/rffr_jax_pretrained"
MOST_BYTES = 15 * 10**6


def test_they_are_whole_small_and_name_no_originals():
    detector, mae = (read_config(FOLDER / name, "detector") for name in ("detector", "mae"))
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < MOST_BYTES
    point = detector["operating_point"]
    assert point["thresholds"]["image"]["n_real"] >= 300
    assert point["origins"] == {}
    assert point["calibrations"] == {"image": None, "video": None}
    (preparation,) = detector["about"]["preparations"]
    assert preparation["size"] == mae["about"]["model"]["image_size"]
    for name in ("detector", "mae"):
        card = (FOLDER / name / "README.md").read_text()
        assert "license: cc-by-nc-sa-4.0" in card
        assert "No rights in the photographs are given." in " ".join(card.split())


def test_the_detector_reads_residuals_of_the_mae_beside_it():
    arrays, own = (load_file(FOLDER / name / "model.safetensors") for name in ("detector", "mae"))
    assert all(np.array_equal(arrays[name], array) for name, array in own.items())


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
