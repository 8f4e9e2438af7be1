"""Job `features`."""

import numpy as np
import pytest
from PIL import Image

from rffr_jax.evaluation.features import attention_overlay
from rffr_jax.evaluation.predictions import Predictions
from tests import jobs


@pytest.fixture(scope="module")
def finished(tmp_path_factory, detector, faces):
    workdir = tmp_path_factory.mktemp("runs") / "features"
    flags = (f"detector={detector}", f"data.inputs=csv:{faces}/test.csv")
    assert jobs.start("features", workdir, *flags) == 0
    with np.load(workdir / "features.npz") as file:
        return workdir, dict(file)


def test_the_head_makes_scores_of_the_features(finished, detector, faces, tmp_path):
    _, found = finished
    flags = (f"detector={detector}", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path, *flags) == 0
    predictions = Predictions.read_csv(tmp_path / "predictions.csv")
    scores = dict(zip((e.id for e in predictions.examples), predictions.scores, strict=True))
    steps = jobs.saved_steps(detector / "checkpoints" / "latest")
    head = {
        name: array
        for name, array in jobs.saved_arrays(
            detector / "checkpoints" / "latest" / str(steps[-1])
        ).items()
        if "head" in name
    }
    (kernel,) = (array for name, array in head.items() if "kernel" in name)
    (bias,) = (array for name, array in head.items() if "bias" in name)
    assert found["features"].shape == (18, len(kernel))
    logits = found["features"].astype(np.float64) @ kernel + bias
    expected = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    np.testing.assert_allclose([scores[name] for name in found["id"]], expected, atol=1e-5)
    assert sorted(found["id"]) == sorted(scores)


def test_attention_covers_what_is_read(finished):
    workdir, found = finished
    assert found["branches"].tolist() == ["original", "residual"]
    assert found["attention"].shape == (18, 2, 4, 4)
    total = found["attention"].sum(axis=(2, 3))
    assert ((found["attention"] > 0).all(), (total < 1).all()) == (True, True)
    assert (total > 0.5).all()
    assert found["label"].tolist() == [int(method != "real") for method in found["method"]]
    with Image.open(workdir / "attention.png") as picture:
        assert min(picture.size) > 3 * jobs.SIZE


def test_heat_is_brightest_where_attention_is():
    attention = np.zeros((4, 4), np.float32)
    attention[1, 2] = 0.2
    shown = attention_overlay(np.full((48, 48, 3), 90, np.uint8), attention).astype(int)
    assert shown[18, 30, 0] > shown[40, 6, 0] + 60  # viridis: yellow has red, violet has not
    assert np.isfinite(
        attention_overlay(np.zeros((8, 8, 3), np.uint8), np.zeros((2, 2), np.float32))
    ).all()


def test_mistakes_are_one_line(tmp_path, detector, faces, capsys):
    for flag, message in (
        ("checkpoint=matched", "checkpoint='matched' is not in"),
        ("checkpoint=best:no", "checkpoint='best:no' is not in"),
    ):
        flags = (f"detector={detector}", f"data.inputs=csv:{faces}/test.csv", flag)
        assert jobs.start("features", tmp_path / "run", *flags) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
