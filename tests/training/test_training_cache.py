"""A training that keeps residuals of its images: when, from where, and with the same result."""

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
from rffr_jax.method import array_cache
from rffr_jax.method.array_cache import image_digests
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.method.residual_cache import ResidualCache
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.runs.checkpoints.weights import load_weights, read_about
from rffr_jax.training import training_cache
from rffr_jax.training.training_cache import TrainingCache, should_cache
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
    found = should_cache("residuals.training", choice, draws=draws, share=share, images=images)
    assert found is expected


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
        training_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000)
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
    monkeypatch.setattr(training_cache.StopRequest, "should_stop", lambda _, step: step == 1)
    assert jobs.start("detect", tmp_path / "run", *flags) == 75
    kept = list((tmp_path / "residuals").glob("*/*.npy"))
    assert kept
    monkeypatch.undo()
    assert jobs.start("detect", tmp_path / "run", *flags) == 0
    assert set(kept) < set((tmp_path / "residuals").glob("*/*.npy"))


@pytest.mark.slow
def test_another_run_reads_them_from_the_disk(tmp_path, monkeypatch, kept_run, flags):
    monkeypatch.setattr(array_cache, "local_rows", die)
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

    with when_logged(monkeypatch, 1, clear):  # two steps are read ahead
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


ALONE = ("mae=", "detector.inputs=original", "detector.blocks=full")


@pytest.fixture(scope="module")
def head(data, mae):
    """The flags of a training of only the head, on features of the encoder of a MAE."""
    backbone = (f"backbone.weights={mae}", "backbone.image_size=36")
    return (*data, *backbone, "detector.train=head", "backbone.keep_features=always")


@pytest.fixture(scope="module")
def kept_features(tmp_path_factory, head):
    """The workdir of a finished training with kept features; they lie beside it."""
    workdir = tmp_path_factory.mktemp("features") / "detect"
    assert jobs.start("detect", workdir, *head, *ALONE) == 0
    return workdir


def assert_same_training(one, other):
    """Losses and what was trained are equal to the accuracy of float32.

    But for the biases of keys: the softmax ignores them, so rounding alone moves them.
    """
    losses = [
        [line["loss"] for line in jobs.metric_lines(run) if line["split"] == "train"]
        for run in (one, other)
    ]
    assert len(losses[0]) == 4
    np.testing.assert_allclose(*losses, rtol=1e-5)
    some, others = (jobs.saved_arrays(run / "checkpoints" / "latest" / "4") for run in (one, other))
    assert some.keys() == others.keys()
    for name, array in some.items():
        pair = [array, others[name]]
        if name.endswith("['qkv']['bias']"):
            pair = [np.delete(np.split(both, 3, axis=-1), 1, axis=0) for both in pair]
        np.testing.assert_allclose(*pair, atol=1e-5, err_msg=name)


def test_a_head_learns_from_kept_features_what_it_learns_from_images(tmp_path, kept_features, head):
    computed = tmp_path / "computed" / "run"
    assert jobs.start("detect", computed, *head, *ALONE, "backbone.keep_features=never") == 0
    assert not (tmp_path / "computed" / "residuals").exists()
    assert_same_training(kept_features, computed)
    abouts = (kept_features.parent / "residuals").glob("*/about.json")
    assert [json.loads(file.read_text())["arrays"] for file in abouts] == ["features"]


@pytest.mark.slow
def test_features_are_read_from_the_disk_and_resume_bit_for_bit(
    tmp_path, monkeypatch, kept_features, head
):
    where = f"residuals.folder={kept_features.parent}/residuals"
    with monkeypatch.context() as patched:
        patched.setattr(array_cache, "local_rows", die)
        assert jobs.start("detect", tmp_path / "read", *head, *ALONE, where) == 0
    jobs.assert_same_run(tmp_path / "read", kept_features)
    died, in_memory = tmp_path / "died", (*head, *ALONE, "residuals.folder=")
    with when_logged(monkeypatch, 3, die), pytest.raises(RuntimeError):
        jobs.start("detect", died, *in_memory)
    assert jobs.start("detect", died, *in_memory) == 0
    jobs.assert_same_run(died, kept_features)


@pytest.mark.slow
def test_features_are_kept_beside_residuals(tmp_path, mae, head, caplog):
    beside = (*head, f"mae={mae}", "residuals.training=always")
    kept, computed = tmp_path / "kept" / "run", tmp_path / "computed" / "run"
    assert jobs.start("detect", kept, *beside) == 0
    assert "residuals and features of 18 training images, 0.0002" in caplog.text
    assert jobs.start("detect", computed, *beside, "backbone.keep_features=never") == 0
    assert_same_training(kept, computed)


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
    kept: Any = TrainingCache.__new__(TrainingCache)
    kept._caches = {
        "residuals": SimpleNamespace(
            shape=(8, 3), read=lambda digests: [values[d[0]] if d[0] < 3 else None for d in digests]
        )
    }
    kept._folder, kept._detection = None, SimpleNamespace(blocks=SimpleNamespace(count=4))
    kept._dataset = SimpleNamespace(examples=[SimpleNamespace(path="there")] * 4)
    kept._digests = np.repeat(np.arange(4, dtype=np.uint8)[:, None], 16, axis=1)
    index, chosen = np.array([2, 0, 1]), np.array([[3, 0], [1, 2], [0, 1]])
    found = kept.inputs(index, np.array([1.0, 1.0, 0.0]), chosen)["difference"]
    np.testing.assert_array_equal(found[0], values[2][[6, 7, 0, 1]])
    np.testing.assert_array_equal(found[1], values[0][[2, 3, 4, 5]])
    assert not found[2].any()
    whole = kept.inputs(index, np.ones(3), None)["difference"]
    np.testing.assert_array_equal(whole, values[index])
    with pytest.raises(UserError, match="the residuals of there are no longer in"):
        kept.inputs(np.array([3]), np.ones(1), None)
