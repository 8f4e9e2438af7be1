"""The settings that the paper compares with, as jobs: other residuals and another backbone."""

import shutil

import numpy as np
import pytest
from PIL import Image

from rffr_jax.command.export_model import export_model
from tests import jobs

LATEST = "checkpoints/latest"
UNET = ("autoencoder=unet", "unet.width=2", "unet.depth=2")


@pytest.fixture(scope="module")
def unet(tmp_path_factory, data):
    workdir = tmp_path_factory.mktemp("runs") / "unet"
    assert jobs.start("pretrain", workdir, *data, *UNET) == 0
    return workdir


def stopped_and_resumed(job, workdir, flags):
    """What is left of a finished run when its last checkpoint is lost, gone on with; arrays."""
    metrics = jobs.metric_lines(workdir)
    parts = ("parameters", "training")
    there = [jobs.saved_arrays(workdir / LATEST / "4", part) for part in parts]
    shutil.rmtree(workdir / LATEST / "4")
    assert jobs.start(job, workdir, *flags) == 0
    assert jobs.metric_lines(workdir) == metrics
    for part, arrays in zip(parts, there, strict=True):
        jobs.assert_same_arrays(jobs.saved_arrays(workdir / LATEST / "4", part), arrays)
    return there[0]


@pytest.mark.slow
def test_a_unet_learns_draws_samples_and_resumes_bit_for_bit(tmp_path, unet, data):
    losses = [line["loss"] for line in jobs.metric_lines(unet) if line["split"] == "validation"]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    with Image.open(unet / "samples" / "000004.png") as sheet:
        assert min(sheet.size) > 3 * jobs.SIZE
    shutil.copytree(unet, tmp_path / "run")
    stopped_and_resumed("pretrain", tmp_path / "run", (*data, *UNET))


@pytest.mark.slow
def test_a_detector_carries_its_unet_and_keeps_no_residuals(tmp_path, unet, data, faces):
    folder = tmp_path / "moved"
    shutil.copytree(unet, folder)
    flags = (*data, f"mae={folder}", "detector.residual=unet", "data.methods=rows")
    assert jobs.start("detect", tmp_path / "detect", *flags) == 0
    shutil.rmtree(folder)
    assert {path.name for path in (tmp_path / "detect" / "checkpoints").iterdir()} == {
        "latest",
        "best",
        "unet",
    }
    tests = (f"detector={tmp_path}/detect", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path / "evaluate", *tests) == 0
    assert (tmp_path / "evaluate" / "results.json").exists()
    assert not (tmp_path / "residuals").exists()


@pytest.mark.slow
def test_the_job_residual_takes_a_unet(tmp_path, unet, faces):
    flags = (f"mae={unet}", f"data.inputs=csv:{faces}/test.csv", "blocks.alpha=2.0")
    assert jobs.start("residual", tmp_path, *flags) == 0
    with np.load(tmp_path / "residuals.npz") as file:
        arrays = dict(file)
    expected = 2 * (arrays["inpainted"] - arrays["image"])
    np.testing.assert_allclose(arrays["residual"], expected.clip(-1, 1), atol=1e-5)
    assert np.abs(expected).mean() > 1e-3


@pytest.mark.slow
def test_a_checkpoint_of_the_other_kind_is_one_clear_error(tmp_path, unet, mae, data, capsys):
    for folder, asked, there in ((unet, "mae", "unet"), (mae, "unet", "mae")):
        flags = (*data, f"mae={folder}", f"detector.residual={asked}")
        assert jobs.start("detect", tmp_path / "run", *flags) == 2
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"rffr_jax: mae={folder} holds a {there} checkpoint and detector.residual is "
            f"'{asked}'; name another checkpoint, or set --config.detector.residual={there}"
        )
    assert jobs.start("pretrain", tmp_path / "run", *data, *UNET, f"init_from={mae}") == 2
    assert "holds a mae checkpoint, not a unet" in capsys.readouterr().err.splitlines()[-1]
    smaller = (*data, *UNET, "unet.width=3", f"init_from={unet}")
    assert jobs.start("pretrain", tmp_path / "run", *smaller) == 2
    assert "a UNet with unet.width=2 and unet.depth=2" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_detector_carries_its_ridge_and_keeps_its_residuals(tmp_path, mae, data, faces):
    folder = tmp_path / "moved"
    shutil.copytree(mae, folder)
    flags = (*data, f"mae={folder}", "detector.residual=ridge", "data.methods=rows")
    kept = (*flags, "residuals.training=always")
    assert jobs.start("detect", tmp_path / "kept", *kept) == 0
    stopped_and_resumed("detect", tmp_path / "kept", kept)
    assert jobs.start("detect", tmp_path / "computed", *flags, "residuals.training=never") == 0
    losses = [
        [line["loss"] for line in jobs.metric_lines(tmp_path / run) if line["split"] == "train"]
        for run in ("kept", "computed")
    ]
    np.testing.assert_allclose(*losses, rtol=2e-3)
    shutil.rmtree(folder)
    assert (tmp_path / "kept" / "checkpoints" / "ridge").is_dir()
    export_model(tmp_path / "kept", tmp_path / "model")
    scores = []
    for detector in ("kept", "model"):
        found = jobs.predict(
            tmp_path / f"predict_{detector}", tmp_path / detector, faces / "test", *jobs.GIVEN
        )
        scores.append([file["score"] for file in found["files"]])
    assert scores[0] == scores[1]
    tests = (f"detector={tmp_path}/kept", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path / "evaluate", *tests) == 0


def test_a_mae_without_a_ridge_is_one_clear_line(tmp_path, mae, data, capsys):
    flags = (*data, f"mae={mae}/checkpoints/latest", "detector.residual=ridge")
    assert jobs.start("detect", tmp_path / "run", *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "holds no ridge regression, which a finished job pretrain leaves in its workdir" in line
    flags = (*data, f"mae={mae}", "detector.residual=ridge", "blocks.k=4")
    assert jobs.start("detect", tmp_path / "run", *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "holds a ridge regression for 48 px images, 12 px patches and k=2" in line


@pytest.mark.slow
def test_a_filter_needs_no_trained_weights(tmp_path, data, faces):
    flags = (*data, "detector.residual=high_pass", "detector.blocks=covered", "mae=nowhere")
    assert jobs.start("detect", tmp_path / "run", *flags) == 0
    checkpoints = (tmp_path / "run" / "checkpoints").iterdir()
    assert {path.name for path in checkpoints} == {"latest", "best"}
    tests = (f"detector={tmp_path}/run", f"data.tests=csv:{faces}/test.csv")
    assert jobs.start("evaluate", tmp_path / "evaluate", *tests) == 0


@pytest.mark.parametrize(
    ("job", "flags", "says"),
    [
        ("pretrain", ("autoencoder=vae",), "autoencoder='vae' is not known; choose mae or unet"),
        ("pretrain", (*UNET, "remat=True"), "remat=True is for a MAE"),
        ("pretrain", ("autoencoder=unet", "unet.depth=5"), "is not a multiple of 32"),
        ("detect", ("detector.backbone=resnet",), "is not known; choose one of vit, "),
        ("detect", ("detector.backbone=xception",), "xception' reads whole original images; add"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(tmp_path, data, capsys, job, flags, says):
    assert jobs.start(job, tmp_path / "run", *data, *flags) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
