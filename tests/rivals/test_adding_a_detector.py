"""The page on adding a detector: its code as it is, trained, evaluated, exported and asked."""

import pathlib
import re

import pytest

import rffr_jax.rivals
from rffr_jax.command.export_model import export_model
from tests import jobs

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "adding_a_detector.md"
SMALL = ("rival.width=2", "mae=", "data.methods=rows")


@pytest.fixture
def meso4(tmp_path, monkeypatch):
    """Saves the page's code where rivals are looked for."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 60
    folder = tmp_path / "rivals"
    folder.mkdir()
    (folder / "meso4.py").write_text(code)
    monkeypatch.setattr(rffr_jax.rivals, "__path__", [*rffr_jax.rivals.__path__, str(folder)])


def test_the_page_is_a_whole_detector(meso4, tmp_path, data, faces):
    detector = tmp_path / "detect"
    assert jobs.start("detect:meso4", detector, *data, *SMALL) == 0
    losses = [line["loss"] for line in jobs.metric_lines(detector) if line["split"] == "train"]
    assert len(losses) == 4
    tests = (f"detector={detector}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path / "evaluate", *tests) == 0
    export_model(detector, tmp_path / "model")
    scores = []
    for folder in (detector, tmp_path / "model"):
        found = jobs.predict(tmp_path / f"of_{folder.name}", folder, faces / "test", *jobs.GIVEN)
        scores.append([file["score"] for file in found["files"]])
    assert scores[0] == scores[1]
    assert len(set(scores[0])) > 1


def test_without_the_file_nobody_knows_the_name(tmp_path, data, capsys):
    assert jobs.start("detect", tmp_path / "run", *data, "detector.backbone=meso4") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("rffr_jax: detector.backbone='meso4' is not known; choose one of vit, ")
    assert "xception" in line
    assert not (tmp_path / "run").exists()
