"""The experiments over units of photographs: what they plan, and a whole one on drawn faces."""

import json
import re

import pytest

from configs.paper import orderings, scaling
from rffr_jax.errors import UserError
from rffr_jax.experiments.dry_run import describe_plan
from rffr_jax.experiments.experiment import list_experiment
from rffr_jax.experiments.grid import check_grid, split_by_seed
from rffr_jax.main import run
from tests import jobs

ROWS = ["plain ViT", "random-block ViT", "zero residual", "high-pass", "RFFR"]


@pytest.mark.parametrize("variant", ["64", "112", "64_more", "112_more"])
def test_every_unit_has_people_a_mae_and_seeds_of_its_own(variant):
    config = orderings.get_config(variant)
    check_grid(config)
    for unit in split_by_seed(config):
        (seed,) = unit.seeds
        specs = (*unit.data.train, *unit.data.validation, *unit.data.test)
        specs += (*unit.columns.mouth_render.test, *unit.trained_on.self_blended.data.train)
        assert all(f"/unit{seed}/" in spec for spec in specs)
        assert unit.mae_seeds == (seed,)
    assert len(config.seeds) == (2 if "more" in variant else 8)
    assert len(config.claims) == (0 if "more" in variant else 4)


def test_rows_of_a_unit_share_its_mae_and_its_residuals(tmp_path):
    plan = list_experiment(orderings.get_config("smoke"), tmp_path / "run")
    trainings = [run for run in plan.runs if run.config.job in ("pretrain", "detect")]
    assert len(trainings) == 2 * (1 + 2 * len(ROWS))
    for unit in (0, 1):
        folder = tmp_path / f"orderings-smoke/seed_{unit}"
        own = [run for run in trainings if run.folder.parent == folder]
        (mae,) = (run.folder for run in own if run.config.job == "pretrain")
        detectors = [run for run in own if run.config.job == "detect"]
        assert {run.config.detector.init for run in detectors} == {str(mae)}
        assert {run.config.residuals.training for run in detectors} == {"always"}
        names = {run.folder.name for run in detectors}
        assert {"RFFR_lowres_swap", "high-pass_self_blended"} < names
    (reference,) = {p.detect.folder.name for p in plan.points if "regression" in p.method} - {
        "RFFR_self_blended"
    }
    assert reference == "RFFR_lowres_swap"
    seen = {p.trained_on for p in plan.points}
    assert seen == {"lowres_swap", "self_blended"}


def test_further_rows_find_the_maes_of_the_first_ones(tmp_path):
    more = orderings.get_config("64_more")
    assert orderings.get_config("64").shared == more.shared
    # The UNet's branches start from the MAE, too, which another row has.
    assert more.rows["04_unet"].detect.detector.init == "mae"
    del more.rows["01_only"], more.rows["02_ridge"], more.rows["03_full"]
    with pytest.raises(UserError, match=r"detector\.init=mae: no row has this autoencoder"):
        check_grid(more)


def test_a_dry_run_says_the_hours_before_anything_has_run(tmp_path, capsys):
    config = f"--config={jobs.CONFIGS}/paper/scaling.py:smoke"
    assert run(["rffr-jax", config, f"--workdir={tmp_path / 'run'}", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "| expected 0" in said
    assert " h), one after another, for " in said
    assert "not known" not in said
    assert not (tmp_path / "run").exists()


def test_hours_are_those_of_runs_beside_each_other(tmp_path):
    plan = list_experiment(scaling.get_config("smoke"), tmp_path / "run")
    seconds = []
    for at_once, order in ((1, "one after another"), (2, "2 at a time")):
        expected = {run.config.job: 3600.0 for run in plan.runs}
        said = describe_plan(plan.runs, (), plan.shared, expected, at_once)
        found = re.search(rf"; about (\d+) s \(.* h\), {order}, for", said)
        assert found
        seconds.append(int(found[1]))
    assert seconds[0] == 2 * seconds[1] > 0


def test_four_points_of_images_and_four_of_people():
    config = scaling.get_config("64")
    steps = [one.steps for one in config.autoencoders.values() if "steps" in one]
    people = [one.data.train[0] for one in config.autoencoders.values() if "data" in one]
    assert sorted(steps) == [1500, 3000, 6000, 12_000]
    assert len({*people}) == 4
    assert all("dataset=portraits" in spec for spec in people)
    assert {row.detect.detector.init for row in config.rows.values()} == {*config.autoencoders}


@pytest.mark.slow
def test_a_unit_of_drawn_faces_leaves_a_table_and_its_unit(tmp_path):
    config = f"--config={jobs.CONFIGS}/paper/orderings.py:smoke"
    flags = (f"--workdir={tmp_path / 'run'}", "--config.seeds=(0,)")
    both = "--config.figures=('bars', 'curves')"
    assert run(["rffr-jax", config, *flags, both]) == 0
    table = json.loads((tmp_path / "run/orderings.json").read_text())
    assert [row["method"] for row in table["rows"]] == [*ROWS, "logistic regression"] * 2
    facts = json.loads((tmp_path / "run/units/unit_0.json").read_text())
    assert len(facts["runs"]) == len(table["rows"])
    for figure in ("orderings_bars", "orderings_curves"):
        assert (tmp_path / f"run/{figure}.png").is_file()
