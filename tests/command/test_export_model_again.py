"""A model folder that is exported again: its card, its licence and its note go with it."""

import jax
import numpy as np
import pytest

import rffr_jax
from rffr_jax.command import entry
from rffr_jax.command.export_model import export_model
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.runs import model_names
from rffr_jax.runs.model_folder import update_config, write_model
from tests.random_detectors import TINY, settings_of, write_random_detector

CARD = "---\nlicense: mit\n---\n# Mine\n\nOf müsli.\n\nNobody else's.\n"
NOTE = "What its author says first."


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = write_random_detector(tmp_path_factory.mktemp("models") / "detector", settings_of())
    update_config(folder, statement=NOTE)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return folder


def card_of(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_detector_keeps_its_card_and_its_note(detector, tmp_path, dtype):
    rffr_jax.load_detector(detector).save_pretrained(tmp_path / "again", dtype=dtype)
    assert card_of(tmp_path / "again") == CARD
    assert rffr_jax.load_detector(tmp_path / "again").note.startswith(NOTE.rstrip("."))


def test_models_that_have_a_name_keep_theirs(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(model_names, "installed_model", lambda: detector)
    monkeypatch.setattr(model_names, "_found", {"hf://me/mine@abc": detector})
    monkeypatch.chdir(tmp_path)
    for name, folder in (("box", "a"), ("hf://me/mine@abc", "b")):
        assert entry.run(["export-model", name, folder]) == 0
        assert card_of(tmp_path / folder) == CARD


def test_a_mae_keeps_its_card_unless_another_is_given(tmp_path):
    arrays = {
        "mae": jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract_mae(TINY)[1])
    }
    about = {
        "kind": "mae",
        "version": "1",
        "model": {"size": "tiny", "image_size": 48, "patch_size": 12},
    }
    write_model(tmp_path / "mae", arrays, {"about": about}, CARD)
    export_model(tmp_path / "mae", tmp_path / "again")
    assert card_of(tmp_path / "again") == CARD
    export_model(tmp_path / "mae", tmp_path / "other", card="# Other\n")
    assert card_of(tmp_path / "other") == "# Other\n"
    (tmp_path / "mae/README.md").unlink()
    export_model(tmp_path / "mae", tmp_path / "none")
    assert "Nobody wrote a model card for it." in card_of(tmp_path / "none")
