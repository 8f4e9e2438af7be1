"""Runs that start from converted weights, of the same and of another image size."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.command.export_model import export_model
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.abstract import abstract_mae
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.weights import load_weights
from rffr_jax.training.initial_weights import check_start, init_detector
from tests import jobs
from tests.convert.source_files import SETTINGS, converted, mae_arrays, vit_arrays
from tests.models import reference

SMALLER = ModelSettings("tiny", image_size=36, patch_size=jobs.PATCH)
GRID = jobs.SIZE // jobs.PATCH
DETECTION = DetectionSettings(
    model=SETTINGS,
    mae=None,
    inputs="both",
    blocks="random",
    residual="zero",
    k=2,
    alpha=4.0,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
TRAINED_OTHERWISE = (
    "were trained with mean (0.5, 0.5, 0.5) and std (0.5, 0.5, 0.5), and will read mean (0.485, "
    "0.456, 0.406) and std (0.229, 0.224, 0.225); --config.detector.mean"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Converted weights: `vit`, `mae`, and smaller ones for another image size."""
    root = tmp_path_factory.mktemp("converted")
    for name, settings in (("", SETTINGS), ("smaller-", SMALLER)):
        converted(root / f"{name}vit", vit_arrays(settings=settings))
        converted(root / f"{name}mae", mae_arrays(settings=settings))
    return root


def saved(run, step):
    return jobs.saved_arrays(run / "checkpoints" / "latest" / str(step))


def by_place(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def branch(arrays, name):
    """The arrays of one branch, by their place in it."""
    prefix = f"['branches']['{name}']"
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def resized(positions, grid):
    """A class token's position as it is, and those of the patches resized by Pillow."""
    side = round((len(positions) - 1) ** 0.5)
    channels = [
        np.asarray(
            Image.fromarray(channel.reshape(side, side)).resize(
                (grid, grid), Image.Resampling.BICUBIC
            )
        ).reshape(-1)
        for channel in positions[1:].T
    ]
    return np.concatenate([positions[:1], np.stack(channels, axis=1)])


def started(folder, **changed):
    """Both branches of a detector as they start from the weights in a folder."""
    settings = dataclasses.replace(DETECTION, **changed)
    fresh = Detection(settings, jnp.float32).init_parameters(0)
    arrays = by_place(init_detector(folder, fresh, settings, make_mesh(1)))
    return branch(arrays, "original"), branch(arrays, "residual")


# ---- detector.init


@pytest.mark.parametrize("name", ["vit", "smaller-vit"])
def test_both_branches_start_from_a_vit(folder, name):
    expected = jobs.saved_arrays(folder / name / "0")
    positions = resized(expected.pop("['positions']"), GRID)
    for arrays in started(folder / name):
        np.testing.assert_allclose(arrays.pop("['positions']"), positions, atol=2e-6)
        jobs.assert_same_arrays(arrays, expected)


@pytest.mark.parametrize("name", ["mae", "smaller-mae"])
def test_both_branches_start_from_the_encoder_of_a_mae(folder, name):
    mae = jobs.saved_arrays(folder / name / "0")
    original, residual = started(folder / name, mean=(0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7))
    positions = np.pad(reference.sincos(GRID, 32), ((1, 0), (0, 0)))
    kernel, bias = "['embedding']['kernel']", "['embedding']['bias']"
    for arrays in (original, residual):
        np.testing.assert_allclose(arrays["['positions']"], positions, atol=1e-6)
        for place in arrays.keys() - {"['positions']", kernel, bias}:
            there = place.replace("['transformer']", "['encoder']")
            if place.startswith("['norm']"):
                there = place.replace("['norm']", "['encoder_norm']")
            np.testing.assert_array_equal(arrays[place], mae[there], err_msg=place)
    np.testing.assert_array_equal(residual[kernel], mae[kernel])
    np.testing.assert_array_equal(residual[bias], mae[bias])
    pixels = np.random.default_rng(0).random((5, len(mae[kernel]) // 3, 3))
    read = (pixels - [0.2, 0.3, 0.4]) / [0.5, 0.6, 0.7]
    computed = read.reshape(5, -1) @ original[kernel] + original[bias]
    expected = pixels.reshape(5, -1) @ mae[kernel] + mae[bias]
    np.testing.assert_allclose(computed, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("told", "changed"),
    [
        (True, {}),
        (False, {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}),
        (False, {"inputs": "residual"}),
    ],
)
def test_another_normalisation_than_a_vit_was_trained_with_is_told(folder, caplog, told, changed):
    with caplog.at_level("INFO", "rffr_jax"):
        check_start(folder / "vit", dataclasses.replace(DETECTION, **changed))
        check_start(folder / "mae", dataclasses.replace(DETECTION, **changed))
    notes = [TRAINED_OTHERWISE in record.getMessage() for record in caplog.records]
    assert notes == ([True] if told else [])


@pytest.mark.parametrize("init", ["vit", "mae"])
@pytest.mark.parametrize("flag", ["model.size=mini", "model.patch_size=6"])
def test_weights_of_another_size_are_refused_before_anything_is_written(
    folder, data, tmp_path, capsys, init, flag
):
    flags = (*data, "detector.inputs=original", "detector.blocks=full", flag)
    assert jobs.start("detect", tmp_path / "run", *flags, f"detector.init={folder}/{init}") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"detector.init={folder}/{init} holds {{'size': 'tiny', 'image_size': 48" in line
    assert "make model.size and model.patch_size the same" in line
    assert not (tmp_path / "run").exists()


# ---- init_from


@pytest.mark.parametrize("name", ["mae", "smaller-mae"])
def test_a_mae_keeps_its_weights_at_any_image_size(folder, name):
    loaded = load_weights(folder / name, "init_from", abstract_mae(SETTINGS)[1], make_mesh(1))
    jobs.assert_same_arrays(by_place(loaded), jobs.saved_arrays(folder / name / "0"))


def test_a_mae_of_another_size_is_refused_before_anything_is_written(
    folder, data, tmp_path, capsys
):
    flags = (*data, f"init_from={folder}/mae", "model.size=mini")
    assert jobs.start("pretrain", tmp_path / "run", *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"init_from={folder}/mae holds {{'size': 'tiny'" in line
    assert not (tmp_path / "run").exists()


# ---- mae


@pytest.mark.parametrize("k", [2, 4])
def test_a_mae_that_says_nothing_of_k_goes_with_any(faces, folder, tmp_path, k):
    inputs = f"data.inputs=csv:{faces}/test.csv?limit=2"
    flags = (f"mae={folder}/mae", inputs, f"blocks.k={k}")
    assert jobs.start("residual", tmp_path / "residual", *flags) == 0
    residual = np.load(tmp_path / "residual" / "residuals.npz")["residual"]
    assert len(residual) == 2
    assert (residual != 0).mean() > 0.9  # both k cover all of the 4 x 4 patches


@pytest.mark.slow
def test_a_detector_takes_a_mae_that_says_nothing_of_k(folder, data, tmp_path):
    flags = (data[0], f"mae={folder}/mae", "blocks.k=4", "steps=2")
    flags += ("data.validation=()", "selection=last")
    assert jobs.start("detect", tmp_path / "run", *flags) == 0


def test_a_converted_mae_of_another_image_size_is_refused(folder, data, tmp_path, capsys):
    assert jobs.start("detect", tmp_path / "run", *data, f"mae={folder}/smaller-mae") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"mae={folder}/smaller-mae reads 36 px images in 12 px patches" in line
    assert not (tmp_path / "run").exists()


# ---- the order of start


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "option", "name"),
    [("detect", "detector.init", "smaller-vit"), ("pretrain", "init_from", "smaller-mae")],
)
def test_a_run_starts_from_its_own_checkpoint_then_from_the_weights_it_names(
    folder, data, tmp_path, capsys, job, option, name
):
    run, init = tmp_path / "run", tmp_path / "init"
    shutil.copytree(folder / name, init)
    flags = (*data, f"{option}={init}", *((f"mae={folder}/mae",) if job == "detect" else ()))
    assert jobs.start(job, run, *flags) == 0
    errors = capsys.readouterr().err
    assert f"{option}={init} is of 36 px images; positions are made for 48 px" in errors
    assert (TRAINED_OTHERWISE in errors) == (job == "detect")

    stack, there = ("transformer", "original") if job == "detect" else ("encoder", "")
    kernel = f"['{stack}']['blocks']['qkv']['kernel']"
    trained = saved(run, 2)
    trained = branch(trained, there) if there else trained
    moved = np.abs(trained[kernel] - jobs.saved_arrays(init / "0")[kernel]).max()
    assert 0 < moved < 3e-3  # two steps of Adam at 1e-3

    uninterrupted = saved(run, 4)
    shutil.rmtree(run / "checkpoints" / "latest" / "4")  # as if stopped after two steps
    shutil.rmtree(init)
    assert jobs.start(job, run, *flags) == 0
    assert f"resuming {run} at step 2" in capsys.readouterr().err
    jobs.assert_same_arrays(saved(run, 4), uninterrupted)


@pytest.mark.slow
def test_a_pretraining_in_legs_that_are_handed_on_as_float16_folders(tmp_path, data):
    """The first leg keeps its rate, the last one starts from the first one's folder and decays."""
    constant = ("optimizer.schedule=constant", "optimizer.warmup_steps=2", "steps=6")
    assert jobs.start("pretrain", tmp_path / "first", *data, *constant) == 0
    export_model(tmp_path / "first", tmp_path / "leg", dtype="float16")
    still = ("optimizer.learning_rate=1e-12", f"init_from={tmp_path / 'leg'}")
    assert jobs.start("pretrain", tmp_path / "last", *data, *still) == 0
    rates = [
        [line["learning_rate"] for line in jobs.metric_lines(run) if line["split"] == "train"]
        for run in (tmp_path / "first", tmp_path / "last")
    ]
    assert rates[0] == pytest.approx([0, 5e-4, 1e-3, 1e-3, 1e-3, 1e-3])
    assert rates[1] == pytest.approx([0, 1e-12, 0.75e-12, 0.25e-12], rel=1e-3)
    start, ended = saved(tmp_path / "last", 4), saved(tmp_path / "first", 6)
    for name, array in start.items():
        handed_on = ended[name].astype(np.float16).astype(np.float32)
        np.testing.assert_allclose(array, handed_on, 1e-5, 1e-9)


def test_additions_to_the_embedding_start_at_zero_and_leave_a_mae_s_encoder_as_it_is(folder):
    """Of both branches; their other layers start at random and can learn."""
    plain = started(folder / "mae")
    for arrays, without in zip(
        started(folder / "mae", embedding="conv+logdct"), plain, strict=True
    ):
        added = {place: arrays.pop(place) for place in [*arrays] if "additions" in place}
        jobs.assert_same_arrays(arrays, without)
        outputs = {place for place in added if "output" in place}
        assert len(outputs) == 4
        assert not any(added[place].any() for place in outputs)
        assert all(added[place].any() for place in added.keys() - outputs if "kernel" in place)
