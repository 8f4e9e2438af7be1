"""The detector's own settings: how many images share the quantiles of the number of blocks."""

import logging

import pytest

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
    for step in ("train", "write_model_card"):
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


def test_best_weights_have_safe_names(tmp_path, mae, data):
    jobs.draw_faces(tmp_path / "v", "set/1", seed=0, reals=2)
    flags = (data[0], f"data.validation=csv:{tmp_path}/v.csv", f"mae={mae}", "steps=2")
    assert jobs.start("detect", tmp_path / "run", *flags) == 0
    bests = {path.name for path in (tmp_path / "run" / "checkpoints" / "best").iterdir()}
    assert bests == {"set_1", "set_1-rows", "set_1-columns"}
