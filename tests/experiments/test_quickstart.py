"""Job `quickstart`: its table, and one whole run on the tiny model."""

import json

import numpy as np
import pytest

from rffr_jax import main
from rffr_jax.evaluation.scoring import PreparedSet
from rffr_jax.examples import Example
from rffr_jax.experiments.quickstart import (
    ENERGY,
    OURS,
    VARIANTS,
    format_summary,
    residual_energy,
    summarise,
)
from tests import jobs


def table(seed, gain):
    aucs = {name: {"columns": 0.6, "rows": 0.9} for name in (*VARIANTS, ENERGY)}
    aucs[OURS] = {"columns": 0.6 + gain, "rows": 0.8}
    errors = {"real": 0.1, "rows": 0.2, "columns": 0.15}
    return {"seed": seed, "note": "made faces", "aucs": aucs, "mean_residual": errors}


def test_the_summary_pairs_variants_by_seed(tmp_path):
    summary = summarise([table(3, 0.1), table(4, 0.2)], "rows")
    assert summary["seeds"] == [3, 4]
    assert summary["methods"] == ["rows", "columns"]
    plain = summary["variants"]["plain ViT"]
    assert plain["mean_unseen"] == pytest.approx(0.6)
    assert plain["rffr_minus_this"] == pytest.approx(0.15)
    low, high = plain["rffr_minus_this_ci95"]
    assert low < 0.15 < high
    assert summary["variants"][OURS]["mean_unseen_by_seed"] == pytest.approx([0.7, 0.8])
    text = format_summary(summary, tmp_path)
    for part in ("rows *", "+15.0 [", "made faces", "real 0.1000", "rows 0.2000 (2.00 x real)"):
        assert part in text
    assert str(tmp_path / "seed_3") in text


def test_one_seed_has_no_interval(tmp_path):
    summary = summarise([table(0, 0.1)], "rows")
    assert summary["variants"]["plain ViT"]["rffr_minus_this_ci95"] is None
    assert "RFFR minus this" not in format_summary(summary, tmp_path)


def test_energy_is_the_mean_over_the_covered_area():
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

    energy = residual_energy(PreparedSet(Data(), [batch], {}), alpha=4.0)
    scores = {e.id: s for e, s in zip(energy.examples, energy.scores, strict=True)}
    assert scores == {"b": 0.5, "a": pytest.approx((47 * 0.25 + 1) / 48)}


def test_no_seed_is_a_mistake(tmp_path, capsys):
    flags = [f"--config={jobs.CONFIGS}/quickstart.py", f"--workdir={tmp_path}/run"]
    assert main.run(["rffr_jax", *flags, "--config.seeds=()"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--config.seeds is empty" in line


@pytest.mark.slow
def test_a_whole_run_and_a_second_one_that_finds_it_done(tmp_path, faces, capsys):
    flags = [f"--config={jobs.CONFIGS}/quickstart.py", f"--workdir={tmp_path}"]
    for part in ("pretrain", "detect"):
        model = ("size=tiny", f"image_size={jobs.SIZE}", f"patch_size={jobs.PATCH}")
        flags += [f"--config.{part}.model.{entry}" for entry in model]
        flags += [f"--config.{part}.{entry}" for entry in ("blocks.k=2", "batch_size=4", "steps=2")]
        flags.append(f"--config.{part}.optimizer.warmup_steps=1")
    flags += ["--config.detect.blocks.group=4", "--config.trained_method=rows"]
    flags += [f"--config.data.{s}=csv:{faces}/{s}.csv" for s in ("train", "validation", "test")]
    assert main.run(["rffr_jax", *flags]) == 0
    printed = capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["variants"]) == {*VARIANTS, ENERGY}
    for variant in (*VARIANTS, ENERGY):
        assert variant in printed
    folder = tmp_path / "seed_0"
    assert (folder / "residuals.png").exists()
    for name in ("roc.png", "curves.png", "results.json", "predictions.csv"):
        assert (folder / OURS / name).exists()
    assert main.run(["rffr_jax", *flags]) == 0
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
