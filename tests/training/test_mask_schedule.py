"""Masks that change in the course of a pretraining."""

import pytest
from ml_collections import ConfigDict

from rffr_jax.errors import UserError
from rffr_jax.training.mask_schedule import MaskStage, read_mask_stages
from rffr_jax.training.metric_writer import MetricWriter
from tests import jobs

SCHEDULE = ("mask.schedule=random:0.5", "mask.ratio=0.5")


def mask(schedule):
    return ConfigDict({"kind": "block", "blocks": 2, "ratio": 0.75, "schedule": schedule})


@pytest.mark.parametrize(
    ("schedule", "stages"),
    [
        ("", [(0, "block", 2)]),
        ("random:0.8", [(0, "random", 1), (80, "block", 2)]),
        (
            "random:.5, gridx4:0.25",
            [(0, "random", 1), (50, "grid", 4), (75, "block", 2)],
        ),
    ],
)
def test_stages_follow_each_other(schedule, stages):
    assert read_mask_stages(mask(schedule), 100) == tuple(MaskStage(*stage) for stage in stages)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("random", "'random' is no KIND:SHARE; write random:0.8"),
        ("grid4:0.5", "'grid4:0.5' is no KIND:SHARE"),
        ("random:1.0", "must sum up to less than 1"),
        ("random:0.6,grid:0.5", "must sum up to less than 1"),
        ("random:0.001", "every part needs a step"),
    ],
)
def test_schedules_that_leave_a_part_without_steps_are_refused(schedule, message):
    with pytest.raises(UserError, match=message):
        read_mask_stages(mask(schedule), 100)


def test_an_unknown_kind_is_refused_before_the_training(tmp_path, data, capsys):
    flags = ("mask.schedule=randon:0.5",)
    assert jobs.start("pretrain", tmp_path / "run", *data, *flags) == 2
    assert "'randon' is not known; choose grid, block or random" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("last", [1, 3])
def test_a_run_that_died_in_either_stage_resumes_bit_for_bit(tmp_path, monkeypatch, data, last):
    flags = (*data, *SCHEDULE, "save_every=1")
    assert jobs.start("pretrain", tmp_path / "whole", *flags) == 0
    write = MetricWriter.write

    def die(self, step, split, values):
        write(self, step, split, values)
        if step == last + 1:
            raise RuntimeError("the machine is gone")

    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "write", die)
        with pytest.raises(RuntimeError, match="the machine is gone"):
            jobs.start("pretrain", tmp_path / "parts", *flags)
    assert jobs.saved_steps(tmp_path / "parts" / "checkpoints" / "latest")[-1] == last
    assert jobs.start("pretrain", tmp_path / "parts", *flags) == 0
    jobs.assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.slow
def test_the_last_stage_hides_what_a_run_of_only_its_kind_hides(tmp_path, data, mae):
    """Validation losses are those of `mask.kind`, before the stage begins, too."""
    still = ("optimizer.learning_rate=1e-20", "optimizer.weight_decay=0.0")
    for name, flags in (("plain", ()), ("stages", SCHEDULE)):
        assert jobs.start("pretrain", tmp_path / name, *data, *still, *flags) == 0
    plain, stages = (
        {(line["step"], line["split"]): line for line in jobs.metric_lines(tmp_path / name)}
        for name in ("plain", "stages")
    )
    for step in (2, 4):
        assert plain[step, "validation"]["loss"] == stages[step, "validation"]["loss"]
    for step in (1, 2):
        assert plain[step, "train"]["loss"] != stages[step, "train"]["loss"]
    for step in (3, 4):
        assert plain[step, "train"]["loss"] == pytest.approx(stages[step, "train"]["loss"], 1e-5)
