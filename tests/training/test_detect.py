"""The detector's own settings: how many images share the quantiles of the number of blocks."""

import csv
import logging
import shutil

import pytest
from PIL import Image

from rffr_jax.errors import UserError
from rffr_jax.training.detector_settings import group_size
from tests import jobs


@pytest.mark.parametrize(
    ("group", "batch_size", "parts", "expected"),
    [
        (16, 32, 1, 16),
        (16, 32, 2, 16),
        (16, 32, 4, 8),
        (16, 32, 8, 4),
        (16, 40, 1, 10),
        (2, 6, 1, 2),
    ],
)
def test_the_group_is_the_largest_that_divides_a_device_s_share(group, batch_size, parts, expected):
    assert group_size(group, batch_size, parts) == expected


@pytest.mark.parametrize(
    ("group", "batch_size", "parts", "works"),
    [(16, 32, 16, 256), (16, 34, 1, 48), (5, 6, 1, 10), (3, 4, 1, 6)],
)
def test_a_group_too_small_names_a_batch_size_that_works(group, batch_size, parts, works):
    with pytest.raises(UserError, match=f"set --config.batch_size={works}$"):
        group_size(group, batch_size, parts)
    assert group_size(group, works, parts) == group


def test_a_coarser_distribution_is_said_once(tmp_path, mae, data, caplog, monkeypatch):
    for step in ("train", "check_against_reference", "write_model_card"):
        monkeypatch.setattr(f"rffr_jax.training.detect.{step}", lambda *_: None)
    flags = (*data, f"mae={mae}", "selection=last")
    with caplog.at_level(logging.INFO):
        assert jobs.start("detect", tmp_path / "coarse", *flags, "blocks.group=16") == 0
        assert jobs.start("detect", tmp_path / "whole", *flags) == 0
    images = "4 images at a time on each of 1 devices"
    (warning,) = (record for record in caplog.records if images in record.message)
    assert warning.levelname == "WARNING"
    assert "4 quantiles instead of blocks.group=16" in warning.message
    assert "--config.batch_size=16 keeps them" in warning.message
    said = [
        r.message for r in caplog.records if r.message.startswith("numbers of blocks in each 4")
    ]
    assert len(said) == 2


@pytest.mark.slow
def test_best_weights_have_safe_names(tmp_path, mae, data):
    jobs.draw_faces(tmp_path / "v", "set/1", seed=0, reals=2)
    flags = (data[0], f"data.validation=csv:{tmp_path}/v.csv", f"mae={mae}", "steps=2")
    assert jobs.start("detect", tmp_path / "run", *flags) == 0
    bests = {path.name for path in (tmp_path / "run" / "checkpoints" / "best").iterdir()}
    assert bests == {"set_1", "set_1-rows", "set_1-columns"}


def with_masks(faces, table):
    """The training table of `faces`, whose fakes are manipulated everywhere."""
    Image.new("L", (jobs.SIZE, jobs.SIZE), 255).save(faces / "mask.png")
    with (faces / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (faces / table).open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "mask"])
        writer.writeheader()
        writer.writerows(row | {"mask": "mask.png" * (row["label"] == "1")} for row in rows)
    return f"data.train=csv:{faces}/{table}"


@pytest.mark.slow
def test_a_loss_on_patches_is_logged_beside_the_loss_and_resumes(tmp_path, mae, data, faces):
    train = with_masks(faces, "masked.csv")
    flags = (train, data[1], f"mae={mae}", "detector.patch_loss=0.5")
    flags += ("detector.embedding=conv+logdct", f"detector.init={mae}")
    assert jobs.start("detect", tmp_path / "run", *flags) == 0
    lines = [line for line in jobs.metric_lines(tmp_path / "run") if line["split"] == "train"]
    assert all(0.2 < line["patch_loss"] < 0.5 for line in lines)  # near 0.5 ln 2
    assert lines[-1]["patch_loss"] < lines[0]["patch_loss"]
    latest = tmp_path / "run" / "checkpoints" / "latest"
    expected = jobs.saved_arrays(latest / "4")
    shutil.rmtree(latest / "4")
    assert jobs.start("detect", tmp_path / "run", *flags) == 0
    jobs.assert_same_arrays(jobs.saved_arrays(latest / "4"), expected)
    flags = (f"detector={tmp_path}/run", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path / "test", *flags) == 0


def test_a_loss_on_patches_without_masks_is_refused_before_anything_is_written(
    tmp_path, data, capsys
):
    flags = (*data, "detector.inputs=original", "detector.patch_loss=1")
    assert jobs.start("detect", tmp_path / "run", *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "is a fake without a mask; detector.patch_loss needs one of every fake" in line
    assert not (tmp_path / "run").exists()
