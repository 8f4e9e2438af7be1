"""A training that keeps the residuals of its images: when, from where, and with the same result."""

import json
import shutil
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.data.captures import Captures
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.method import residual_cache
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.residual_cache import ResidualCache, image_digests
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.weights import load_weights, read_about
from rffr_jax.training import training_residuals
from rffr_jax.training.training_residuals import TrainingResiduals, should_cache_residuals
from tests import jobs
from tests.training.test_loop import die, when_logged


@pytest.mark.parametrize(
    ("choice", "draws", "share", "images", "expected"),
    [
        ("auto", 4000, 0.25, 1000, False),
        ("auto", 4001, 0.25, 1000, True),
        ("auto", 1001, 1.0, 1000, True),
        ("always", 1, 0.25, 1000, True),
        ("never", 10**9, 1.0, 1, False),
    ],
)
def test_residuals_are_kept_where_that_saves_work(choice, draws, share, images, expected):
    assert should_cache_residuals(choice, draws=draws, share=share, images=images) is expected


def test_an_unknown_choice_is_one_clear_line(tmp_path, capsys, data, mae):
    flags = (*data, f"mae={mae}", "residuals.training=yes")
    capsys.readouterr()
    assert jobs.start("detect", tmp_path / "run", *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "residuals.training='yes' is not known; choose auto, always or never" in line


def test_no_place_for_them_is_one_clear_line(tmp_path, capsys, data, mae):
    flags = (*data, f"mae={mae}", "residuals.training=always", "residuals.folder=")
    capsys.readouterr()
    assert jobs.start("detect", tmp_path / "run", *flags, "residuals.memory_gb=1e-5") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the residuals of 18 training images take 0.00025 GB and have no place" in line
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_one_clear_line(tmp_path, capsys, data, mae, monkeypatch):
    monkeypatch.setattr(
        residual_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000)
    )
    capsys.readouterr()
    flags = (*data, f"mae={mae}", "residuals.training=always")
    assert jobs.start("detect", tmp_path / "run", *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "18 training images take 0.00025 GB, and residuals.folder=" in line
    assert "has room for 0.0002 GB: name another folder, take fewer images or data.cap" in line
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "residuals").exists()


@pytest.fixture(scope="module")
def flags(data, mae):
    return (*data, f"mae={mae}", "data.methods=rows", "residuals.training=always")


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory, flags):
    """The workdir of a finished training with kept residuals; they lie beside it."""
    workdir = tmp_path_factory.mktemp("kept") / "detect"
    assert jobs.start("detect", workdir, *flags) == 0
    return workdir


@pytest.mark.slow
def test_the_losses_are_those_of_a_training_that_computes_residuals(kept_run, detector):
    kept, computed = (
        [line["loss"] for line in jobs.metric_lines(workdir) if line["split"] == "train"]
        for workdir in (kept_run, detector)
    )
    assert len(kept) == 4
    np.testing.assert_allclose(kept, computed, rtol=2e-3)
    assert json.loads((detector / "config.json").read_text())["residuals"]["training"] == "auto"


@pytest.mark.slow
def test_a_run_that_died_and_lost_them_resumes_bit_for_bit(tmp_path, monkeypatch, kept_run, flags):
    in_memory = (*flags, "residuals.folder=")
    with when_logged(monkeypatch, 3, die), pytest.raises(RuntimeError):
        jobs.start("detect", tmp_path, *in_memory)
    assert jobs.start("detect", tmp_path, *in_memory) == 0
    jobs.assert_same_run(tmp_path, kept_run)


@pytest.mark.slow
def test_a_signal_stops_the_run_while_they_are_computed(tmp_path, monkeypatch, flags):
    monkeypatch.setattr(training_residuals.StopRequest, "should_stop", lambda _, step: step == 1)
    assert jobs.start("detect", tmp_path / "run", *flags) == 75
    kept = list((tmp_path / "residuals").glob("*/*.npy"))
    assert kept
    monkeypatch.undo()
    assert jobs.start("detect", tmp_path / "run", *flags) == 0
    assert set(kept) < set((tmp_path / "residuals").glob("*/*.npy"))


@pytest.mark.slow
def test_another_run_reads_them_from_the_disk(tmp_path, monkeypatch, kept_run, flags):
    monkeypatch.setattr(residual_cache, "local_rows", die)
    where = f"residuals.folder={kept_run.parent}/residuals"
    assert jobs.start("detect", tmp_path / "run", *flags, where, "residuals.memory_gb=0") == 0
    jobs.assert_same_run(tmp_path / "run", kept_run)


@pytest.mark.slow
def test_what_vanishes_during_a_run_is_one_clear_line(
    tmp_path, monkeypatch, capsys, kept_run, flags
):
    shutil.copytree(kept_run.parent / "residuals", tmp_path / "residuals")

    def clear():
        for file in (tmp_path / "residuals").rglob("*.npy"):
            file.unlink()

    with when_logged(monkeypatch, 3, clear):
        assert jobs.start("detect", tmp_path / "run", *flags, "residuals.memory_gb=0") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "start the same command again, which computes what is missing" in line
    assert jobs.start("detect", tmp_path / "run", *flags, "residuals.memory_gb=0") == 0
    jobs.assert_same_run(tmp_path / "run", kept_run)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_a_mistake_only_beyond_memory(
    tmp_path, capsys, kept_run, flags
):
    (tmp_path / "residuals").write_text("a file")
    assert jobs.start("detect", tmp_path / "run", *flags, "residuals.memory_gb=0") == 2
    assert "could not be kept in" in capsys.readouterr().err.splitlines()[-1]
    assert jobs.start("detect", tmp_path / "run", *flags) == 0
    jobs.assert_same_run(tmp_path / "run", kept_run)


@pytest.mark.slow
def test_residuals_of_captures_are_kept_and_resume_bit_for_bit(
    tmp_path, faces, mae, monkeypatch, caplog
):
    flags = (
        f"data.train=csv:{faces}/train.csv?landmarks=aligned",
        f"data.validation=csv:{faces}/validation.csv",
        f"mae={mae}",
        "data.fakes=self_blended",
        "data.captures=2",
        "residuals.training=always",
    )
    whole, died = tmp_path / "whole", tmp_path / "died"
    assert jobs.start("detect", whole, *flags) == 0
    assert "data.captures=2: 24 captures of 12 images; their pixels, 0.00017 GB" in caplog.text
    assert "residuals of 24 training images, 0.00033 GB, are computed" in caplog.text
    with when_logged(monkeypatch, 3, die), pytest.raises(RuntimeError):
        jobs.start("detect", died, *flags, "residuals.folder=")
    assert jobs.start("detect", died, *flags, "residuals.folder=") == 0
    jobs.assert_same_run(died, whole)
    card = " ".join((whole / "model_card.md").read_text().split())
    assert "| training | 6 | 6 | self_blended 6 | 6 |" in card
    assert_stored_are_recomputed(tmp_path / "residuals", mae, faces)


def assert_stored_are_recomputed(folder, mae, faces):
    """Every captured image's row in the folder is what the MAE gives for it now."""
    mesh = make_mesh(1)
    about = read_about(mae, "mae", "mae")
    model = ModelSettings(**about["model"])
    colours = (0.5, 0.5, 0.5)
    settings = DetectionSettings(model, model, "both", "random", "mae", 2, 4.0, colours, colours)
    detection = Detection(settings, jnp.float32)
    frozen = load_weights(mae, "mae", detection.abstract_frozen, mesh)
    given = load_dataset(f"csv:{faces}/train.csv?landmarks=aligned")
    captures = Captures(SelfBlendedPairs(given, 0), 2)
    images = np.stack([captures.load(i, 48) for i in range(24)])
    stored = ResidualCache(detection, frozen, mesh, folder=folder).read(image_digests(images))
    computed = np.asarray(jax.jit(detection.differences)(frozen, images))
    for one, other in zip(stored, computed, strict=True):
        assert one is not None
        np.testing.assert_allclose(one, other, atol=1e-3)
        assert np.abs(one).max() > 0.01


def test_the_chosen_blocks_are_taken():
    values = np.arange(72, dtype=np.float16).reshape(3, 8, 3)  # 3 images, 4 blocks of 2 patches
    residuals: Any = TrainingResiduals.__new__(TrainingResiduals)
    residuals._kept = SimpleNamespace(
        folder=None,
        read=lambda digests: [values[d[0]] if d[0] < 3 else None for d in digests],
    )
    residuals._detection = SimpleNamespace(
        differences_shape=(8, 3), blocks=SimpleNamespace(count=4)
    )
    residuals._dataset = SimpleNamespace(examples=[SimpleNamespace(path="there")] * 4)
    residuals._digests = np.repeat(np.arange(4, dtype=np.uint8)[:, None], 16, axis=1)
    index, chosen = np.array([2, 0, 1]), np.array([[3, 0], [1, 2], [0, 1]])
    found = residuals.of(index, np.array([1.0, 1.0, 0.0]), chosen)
    np.testing.assert_array_equal(found[0], values[2][[6, 7, 0, 1]])
    np.testing.assert_array_equal(found[1], values[0][[2, 3, 4, 5]])
    assert not found[2].any()
    np.testing.assert_array_equal(residuals.of(index, np.ones(3), None), values[index])
    with pytest.raises(UserError, match="the residual of there is no longer in"):
        residuals.of(np.array([3]), np.ones(1), None)
