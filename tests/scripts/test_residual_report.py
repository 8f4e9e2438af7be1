"""The report on residuals: what it reads, and that it finds what is there."""

import itertools

import numpy as np
import pytest

from scripts import residual_report
from scripts.residual_report import mean_aucs, read_residuals
from tests import jobs


def test_what_is_read_of_a_residual():
    image = np.full((2, 64, 64, 3), 0.5, np.float32)
    differences = np.zeros_like(image)
    differences[1, :8, 8:16, 2] = -0.25
    found = read_residuals(image, differences, alpha=8.0)
    mean = found["residual, mean in cells"].reshape(2, 8, 8, 3)
    size = np.exp(found["residual, size in cells"].reshape(2, 8, 8, 3)) - residual_report.SMALL
    assert mean[1, 0, 1, 2] == pytest.approx(-0.25)
    np.testing.assert_allclose(size, abs(mean), atol=1e-6)
    assert np.count_nonzero(mean) == 1
    assert not found["image, fine detail"].any()
    cut_off = found["residual, fine detail"][1].max()
    assert cut_off == pytest.approx(
        read_residuals(image, differences, alpha=4.0)["residual, fine detail"][1].max()
    )
    assert cut_off > found["residual, fine detail"][0].max() == 0
    assert found[residual_report.BOTH].shape == (2, 2 * 4 * 64)


def test_methods_that_share_a_trace_are_told_and_others_not():
    # Every method has the same noise with all its signs, so chance tells none of them apart.
    noise = np.random.default_rng().normal(size=(25, 1, 3))
    noise = (noise * list(itertools.product((-1, 1), repeat=3))).reshape(-1, 3)
    methods = np.repeat(["", "a", "b", "c"], len(noise)).tolist()
    features = np.tile(noise, (4, 1)).astype(np.float32)
    features[:, 0] += 3 * np.isin(methods, ("a", "b"))
    features[:, 1] += 3 * (np.array(methods) == "c")
    own, others = mean_aucs((methods, features), (methods[::-1], features[::-1]))
    assert own > 0.9
    # a and b tell each other, c none of them and is told by none.
    assert others == pytest.approx((2 * own + 4 * 0.5) / 6, abs=0.02)


def test_it_reports_on_a_mae(tmp_path, capsys):
    small = ("model.size=tiny", "model.image_size=48", "model.patch_size=12", "batch_size=8")
    data = (
        "data.train=synthetic:0#train?limit=16",
        "data.validation=synthetic:0#validation?limit=8",
    )
    assert jobs.start("pretrain", tmp_path / "mae", *data, *small, "steps=2") == 0
    flags = ["--mae", str(tmp_path / "mae"), "--train", "synthetic:0#train?limit=60"]
    assert residual_report.main([*flags, "--validation", "synthetic:0#validation?limit=40"]) == 0
    shown = capsys.readouterr().out
    assert "| image and residual, fine detail |" in shown
    assert "% of the values of real faces are cut off at alpha=4." in shown
    assert "nan" not in shown
    assert residual_report.main([*flags, "--validation", "folder:none"]) == 2
    assert "folder:none" in capsys.readouterr().err
