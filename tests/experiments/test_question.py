"""The question of blended edges: what the experiment plans, and a whole one on drawn faces."""

import json

import pytest

from configs.paper import orderings, question
from rffr_jax.data.self_blending.controls import CONTROLS
from rffr_jax.errors import UserError
from rffr_jax.experiments.experiment import list_experiment
from rffr_jax.experiments.grid import check_grid, split_by_seed
from rffr_jax.main import run
from tests import jobs

ROWS = [question.ALONE, question.ZERO, question.HIGH_PASS, question.OURS]


def test_columns_are_all_controls_beside_the_data():
    assert set(question.CONTROLS.values()) == set(CONTROLS)
    for variant, data in (("64", 4), ("smoke", 2), ("published", 6)):
        config = question.get_config(variant)
        check_grid(config)
        columns = {**config.columns}
        assert len(columns) == data + len(CONTROLS)
        for label, control in question.CONTROLS.items():
            column = columns.pop(label)
            assert column.method == control
            assert column.test[0].endswith("&fakes=controls")
        assert not any("controls" in spec for column in columns.values() for spec in column.test)
        assert [row.label for row in config.rows.values()] == ROWS
        claimed = {claim.get("column", "") for claim in config.claims.values()}
        assert claimed <= {"", *config.columns}


def test_units_of_photographs_share_the_maes_of_the_orderings():
    ours, theirs = question.get_config("64"), orderings.get_config("64")
    assert ours.shared == theirs.shared
    assert ours.pretrain == theirs.pretrain
    assert ours.data.pretrain == theirs.data.pretrain
    for unit in split_by_seed(ours):
        (seed,) = unit.seeds
        specs = [spec for column in unit.columns.values() for spec in column.test]
        assert all(f"/unit{seed}/" in spec for spec in specs)


def test_the_backbone_is_the_maes_own_encoder(tmp_path):
    plan = list_experiment(question.get_config("smoke"), tmp_path / "run")
    for point in plan.points:
        assert point.pretrain is not None
        detect = point.detect.config
        assert detect.backbone.weights == str(point.pretrain.folder)
        assert detect.backbone.image_size == detect.model.image_size
        assert detect.detector.train == "norms"
        assert detect.data.fakes == "self_blended"
        alone = point.method == question.ALONE
        assert detect.detector.init == ("" if alone else str(point.pretrain.folder))
        assert point.pretrain.folder in point.detect.prerequisites
        tests = {run.config.data.tests for run in point.evaluations.values()}
        assert len(tests) == 2
    config = question.get_config("smoke")
    config.rows["02_zero"].autoencoder = ""
    with pytest.raises(UserError, match=r"backbone\.weights=mae: row .* has no autoencoder"):
        check_grid(config)


def test_missing_weights_are_named_before_anything_is_trained(tmp_path, capsys):
    config = f"--config={jobs.CONFIGS}/paper/question.py:published"
    other = "--config.detect.backbone.weights=weights/clip"
    for flags, folder in (((), "weights/dinov2"), ((other,), "weights/clip")):
        assert run(["rffr-jax", config, f"--workdir={tmp_path / 'run'}", *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert f"{folder} holds no converted weights of a backbone" in line
    assert not (tmp_path / "run" / "published").exists()
    with pytest.raises(UserError, match="one of 64, published, smoke"):
        question.get_config("faceforensics")


@pytest.mark.slow
def test_drawn_faces_give_a_whole_table(tmp_path, capsys):
    config = f"--config={jobs.CONFIGS}/paper/question.py:smoke"
    one = "--config.seeds=(0,)"
    assert run(["rffr-jax", config, f"--workdir={tmp_path / 'run'}", one]) == 0
    table = json.loads((tmp_path / "run/question.json").read_text())
    assert [row["method"] for row in table["rows"]] == ROWS
    assert set(table["controls"]) == set(question.CONTROLS)
    for row in table["rows"]:
        cells = row["cells"]
        assert set(cells) == {*table["columns"], "mean_all", "mean_unseen"}
        data = [cells[c]["auc"] for c in table["columns"] if c not in table["controls"]]
        assert cells["mean_unseen"]["auc"] == pytest.approx(sum(data) / len(data))
        assert all(len(cell["ci95"]) == 2 for cell in cells.values())
    assert {claim["column"] for claim in table["claims"]} == {
        *("", "real, identity paste", "real, brightness edge")
    }
    assert "under one trace of manipulation" in capsys.readouterr().out
    assert (tmp_path / "run/question_bars.png").is_file()
    assert (tmp_path / "run/report.html").is_file()
