"""The quickstart: an experiment whose seeds have data, a MAE and detectors of their own."""

import json

import numpy as np
import pytest

from configs import quickstart
from rffr_jax import main
from rffr_jax.errors import UserError
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.scoring import PreparedSet
from rffr_jax.examples import Example
from rffr_jax.experiments.experiment import add_columns_from_data
from rffr_jax.experiments.grid import Folders, Plan, make_grid, split_by_seed
from rffr_jax.experiments.mean_residual import describe_mean_residuals, mean_residuals
from tests import jobs

CONTROLS = ["plain ViT", "random-block ViT", "zero residual", "high-pass", "ViT from the MAE"]
NETWORKS = [*CONTROLS, "RFFR"]
ROWS = [*NETWORKS, "mean |residual|", "logistic regression"]


def test_every_seed_has_data_a_mae_and_detectors_of_its_own(tmp_path):
    config = quickstart.get_config()
    config.seeds = (3, 4)
    for seed, one in zip((3, 4), split_by_seed(config), strict=True):
        assert one.data.test == (f"synthetic:{seed}#test",)
        assert one.data.pretrain == (f"synthetic:{seed}#train?method=lowres_swap",)
        points = make_grid(
            add_columns_from_data(one), Folders(tmp_path / f"seed_{seed}", readable=True)
        )
        assert {(point.seed, point.mae_seed) for point in points} == {(seed, None), (seed, seed)}
        runs = Plan(tmp_path, one, one, points, {}, {}).runs
        names = ["mae", *(name.replace(" ", "_") for name in NETWORKS)]
        trainings = [run.folder for run in runs if run.config.job in ("pretrain", "detect")]
        assert trainings == [tmp_path / f"seed_{seed}" / name for name in names]
        init = {run.folder.name: run.config.detector.init for run in runs[1 : 1 + len(NETWORKS)]}
        assert init.pop("ViT_from_the_MAE") == str(tmp_path / f"seed_{seed}/mae")
        assert {*init.values()} == {""}


def test_columns_are_the_methods_of_the_test(faces, tmp_path):
    config = quickstart.get_config()
    config.trained_method = "rows"
    config.data.test = (f"csv:{faces}/test.csv",)
    found = add_columns_from_data(config)
    assert list(found.columns) == ["columns", "rows"]
    assert found.trained_on.rows.data.methods == ("rows",)
    other = tmp_path / "other.csv"
    other.write_text((faces / "test.csv").read_text().replace(",faces,", ",others,"))
    config.data.test = (f"csv:{faces}/test.csv", f"csv:{other}", f"csv:{faces}/validation.csv")
    found = add_columns_from_data(config).columns
    assert list(found) == [f"{m}, {d}" for m in ("columns", "rows") for d in ("faces", "others")]
    assert found["rows, faces"].test == (config.data.test[0], config.data.test[2])


def test_rows_of_other_toolkits_need_one_test_set():
    config = quickstart.get_config()
    config.external = "Theirs=external:theirs.csv"
    with pytest.raises(UserError, match="test set of its own"):
        split_by_seed(config)


def test_the_mean_residual_is_that_of_the_covered_area():
    examples = tuple(Example(n, n, 0, "d", "real", n, 0, n) for n in "ab")
    difference = np.zeros((3, 4, 12), np.float16)
    difference[0], difference[1], difference[1, 0, 0] = 0.125, -0.0625, 7.0
    batch = {
        "difference": difference,
        "index": np.array([1, 0, -1]),
        "weight": np.array([1, 1, 0.0]),
    }

    class Data:
        def __init__(self):
            self.examples = examples

        def load(self, index, size):
            raise AssertionError("the scores need no pixels")

    found = mean_residuals(PreparedSet(Data(), lambda: iter([batch]), {}), alpha=4.0)
    scores = {e.id: s for e, s in zip(found.examples, found.scores, strict=True)}
    assert scores == {"b": 0.5, "a": pytest.approx((47 * 0.25 + 1) / 48)}


def test_mean_residuals_are_told_beside_those_of_reals():
    def scored(real, fake):
        methods = ["real", "warp", "real", "warp"]
        examples = [
            Example(f"{i}", "", int(m != "real"), "d", m, f"{i}", 0, f"{i}")
            for i, m in enumerate(methods)
        ]
        return Predictions(examples, np.array([real, fake, real, fake]))

    said = describe_mean_residuals([scored(0.1, 0.2), scored(0.3, 0.6)])
    assert said == "mean |residual|: real 0.2000, warp 0.4000 (2.00 x real)"


def test_no_seed_is_a_mistake(tmp_path, capsys):
    flags = [f"--config={jobs.CONFIGS}/quickstart.py", f"--workdir={tmp_path}/run"]
    assert main.run(["rffr_jax", *flags, "--config.seeds=()"]) == 2
    assert "--config.seeds is empty" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_whole_run_and_a_second_one_that_finds_it_done(tmp_path, faces, capsys):
    flags = [f"--config={jobs.CONFIGS}/quickstart.py", f"--workdir={tmp_path}"]
    for part in ("pretrain", "detect"):
        model = ("size=tiny", f"image_size={jobs.SIZE}", f"patch_size={jobs.PATCH}")
        flags += [f"--config.{part}.model.{entry}" for entry in model]
        flags += [f"--config.{part}.{entry}" for entry in ("blocks.k=2", "batch_size=4", "steps=2")]
        flags.append(f"--config.{part}.optimizer.warmup_steps=1")
    flags.append("--config.pretrain.mask.schedule=")  # four blocks are all of k=2
    flags += ["--config.detect.blocks.group=4", "--config.trained_method=rows"]
    flags += [f"--config.data.{s}=csv:{faces}/{s}.csv" for s in ("train", "validation", "test")]
    assert main.run(["rffr_jax", *flags]) == 0
    printed = capsys.readouterr().out
    table = (tmp_path / "quickstart.json").read_bytes()
    rows = {row["method"]: row["cells"] for row in json.loads(table)["rows"]}
    assert list(rows) == ROWS
    assert all({"rows", "columns", "mean_unseen"} <= cells.keys() for cells in rows.values())
    for said in (*CONTROLS, "RFFR", "mean |residual|: real", "residuals.png", "seed_0/mae/samples"):
        assert said in printed
    assert (tmp_path / "residuals.png").exists()
    for name in ("roc.png", "results.json", "predictions.csv"):
        assert len(list(tmp_path.glob(f"seed_0/RFFR/evaluations/*/{name}"))) == 3
    assert main.run(["rffr_jax", *flags]) == 0
    assert (tmp_path / "quickstart.json").read_bytes() == table
    assert main.run(["rffr_jax", *flags, "--config.detect.steps=3"]) == 2
    assert "other settings (detect.steps: 2 there, 3 in this config)" in capsys.readouterr().err
