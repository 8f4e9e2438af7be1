"""Job `residual`: arrays and a picture."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from sklearn.metrics import roc_auc_score

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.command import entry
from rffr_jax.data.specs import load_dataset
from rffr_jax.method.blocks import BlockGrid
from rffr_jax.method.residual import residual_image
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.weights import (
    load_weights,
)
from rffr_jax.synthetic.dataset import SyntheticDataset
from tests import jobs


@pytest.fixture(scope="module")
def finished(tmp_path_factory, mae, faces):
    """18 images in batches of 4, so that the last one is padded."""
    workdir = tmp_path_factory.mktemp("runs") / "residual"
    spec = f"data.inputs=csv:{faces}/test.csv"
    assert jobs.start("residual", workdir, f"mae={mae}", spec) == 0
    with np.load(workdir / "residuals.npz") as file:
        return workdir, dict(file)


def test_arrays_are_as_promised(finished, faces):
    workdir, arrays = finished
    assert set(arrays) == {"path", "image", "inpainted", "residual"}
    for name in ("image", "inpainted", "residual"):
        assert arrays[name].shape == (18, jobs.SIZE, jobs.SIZE, 3)
        assert arrays[name].dtype == np.float32
        assert np.isfinite(arrays[name]).all()
    assert arrays["path"][0] == str(faces / "test" / "real0.png")
    with Image.open(arrays["path"][5]) as picture:
        np.testing.assert_allclose(arrays["image"][5], np.asarray(picture) / 255, atol=1e-7)
    with Image.open(workdir / "residuals.png") as picture:
        assert min(picture.size) > 3 * jobs.SIZE


def test_residuals_are_those_of_the_named_mae(finished, mae):
    _, arrays = finished
    settings = ModelSettings("tiny", jobs.SIZE, jobs.PATCH)
    definition, abstract = abstract_mae(settings, jnp.float32)
    parameters = load_weights(mae, "mae", abstract, make_mesh())
    model = nnx.merge(definition, nnx.State(parameters))
    images = jnp.asarray(arrays["image"][:4])
    inpainted, residual = jax.jit(residual_image, static_argnums=1)(model, BlockGrid(4, 2), images)
    np.testing.assert_allclose(arrays["inpainted"][:4], inpainted, atol=1e-5)
    np.testing.assert_allclose(arrays["residual"][:4], residual, atol=4e-5)
    difference = 4 * (arrays["inpainted"] - arrays["image"])
    np.testing.assert_allclose(arrays["residual"], difference.clip(-1, 1), atol=1e-5)


def test_several_blocks_a_pass_are_an_approximation(tmp_path, finished, faces, mae, capsys):
    flags = (f"mae={mae}", f"data.inputs=csv:{faces}/test.csv")
    assert jobs.start("residual", tmp_path, *flags, "blocks.blocks_per_pass=2") == 0
    with np.load(tmp_path / "residuals.npz") as file:
        approximate = file["residual"]
    difference = np.abs(approximate - finished[1]["residual"])
    assert 0 < difference.mean() < np.abs(finished[1]["residual"]).mean()
    assert jobs.start("residual", tmp_path / "b", *flags, "blocks.blocks_per_pass=4") == 2
    assert "4 blocks in one pass" in capsys.readouterr().err.splitlines()[-1]


def test_bad_files_are_left_out_and_too_many_end_the_job(tmp_path, mae, capsys):
    jobs.draw_faces(tmp_path / "test", seed=2, reals=2)
    (tmp_path / "test" / "real1.png").write_bytes(b"\x89PNG")
    flags = (f"mae={mae}", f"data.inputs=csv:{tmp_path}/test.csv")
    assert jobs.start("residual", tmp_path / "run", *flags) == 0
    assert f"left out: {tmp_path}/test/real1.png: " in capsys.readouterr().err
    with np.load(tmp_path / "run" / "residuals.npz") as file:
        assert len(file["path"]) == 5
        assert not any("real1" in path for path in file["path"])
    (tmp_path / "test" / "rows1.png").write_bytes(b"")
    assert jobs.start("residual", tmp_path / "other", *flags) == 2
    assert "2 of 6 images cannot be used" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "other" / "residuals.npz").exists()


def test_a_detector_that_reconstructs_nothing_is_refused(tmp_path, detector, capsys):
    flags = (f"mae={detector}", "data.inputs=synthetic:0#test?limit=2")
    assert jobs.start("residual", tmp_path / "run", *flags) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"rffr_jax: mae={detector} holds a detector checkpoint, not a mae or unet, and its "
        "detector reconstructs no images; name a MAE, a UNet, the workdir of recce, or the folder "
        "that `rffr-jax export-model` makes of a detector with a MAE"
    )


def test_the_mae_in_a_model_folder_of_a_detector_makes_the_same_residuals(
    tmp_path, detector, faces, finished
):
    assert entry.run(["export-model", str(detector), str(tmp_path / "model")]) == 0
    flags = (f"mae={tmp_path}/model", f"data.inputs=csv:{faces}/test.csv")
    assert jobs.start("residual", tmp_path / "run", *flags) == 0
    with np.load(tmp_path / "run/residuals.npz") as file:
        np.testing.assert_array_equal(file["residual"], finished[1]["residual"])


def test_a_sheet_of_procedural_faces_says_so(tmp_path, mae, finished):
    spec = "data.inputs=synthetic:0#test?limit=12"
    assert jobs.start("residual", tmp_path, f"mae={mae}", spec) == 0
    with (
        Image.open(tmp_path / "residuals.png") as noted,
        Image.open(finished[0] / "residuals.png") as plain,
    ):
        assert noted.width == plain.width
        assert noted.height > plain.height  # 12 rows both


def test_where_fakes_carry_masks_residuals_are_held_against_them(tmp_path, mae, finished, capsys):
    assert not (finished[0] / "localisation.json").exists()  # files carry no masks
    spec = "data.inputs=synthetic:0#test?limit=12&method=lowres_swap+mouth_warp"
    assert jobs.start("residual", tmp_path, f"mae={mae}", spec) == 0
    said = json.loads((tmp_path / "localisation.json").read_text())
    assert set(said["methods"]) == {"lowres_swap", "mouth_warp", "(all)"}
    assert "procedural faces" in said["note"]
    entry = said["methods"]["lowres_swap"]
    with np.load(tmp_path / "residuals.npz") as file:
        paths, residuals = file["path"].tolist(), file["residual"]
    dataset = load_dataset(spec.partition("=")[2])
    data = SyntheticDataset(0, "test")
    aucs, gains = [], []
    for path, residual in zip(paths, residuals, strict=True):
        example = next(e for e in dataset.examples if e.path == path)
        if example.method != "lowres_swap":
            continue
        index = next(i for i, e in enumerate(data.examples) if e.path == path)
        mask = data.mask(index, jobs.SIZE) > 0.5
        aucs.append(roc_auc_score(mask.ravel(), np.abs(residual).mean(-1).ravel()))
        if example.source in paths:
            before = residuals[paths.index(example.source)]
            own = roc_auc_score(mask.ravel(), np.abs(before).mean(-1).ravel())
            gains.append(aucs[-1] - own)
    assert entry["n"] == len(aucs) > 1
    assert entry["n_with_original"] == len(gains) > 0
    assert entry["pixel_auc"] == pytest.approx(np.mean(aucs))
    assert entry["pixel_auc_gain"] == pytest.approx(np.mean(gains))
    assert "gain over original" in capsys.readouterr().out
