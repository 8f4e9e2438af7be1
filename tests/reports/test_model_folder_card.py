"""README.md of a model folder: how it says that the folder is used."""

import pytest

from rffr_jax.reports.model_folder_card import model_folder_card


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("mae", "rffr-jax detect --config.mae=mine"),
        ("unet", "rffr-jax detect --config.mae=mine --config.detector.residual=unet"),
        ("vit", "rffr-jax detect --config.detector.init=mine"),
    ],
)
def test_it_is_named_where_its_kind_is_taken(tmp_path, kind, command):
    card = model_folder_card(kind, "mine", tmp_path)
    assert [line for line in card.splitlines() if "mine" in line] == ["# mine", command]
    assert "import rffr_jax" not in card


def test_a_detector_is_loaded_from_python(tmp_path):
    card = model_folder_card("detector", "mine", tmp_path)
    assert '```python\nimport rffr_jax\n\ndetector = rffr_jax.load_detector("mine")\n' in card
    assert "--config" not in card
