"""A detector that is trained further on one's own data: `init_from` of the job `detect`."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import rffr_jax
from configs import detect
from configs.recipes import detect as detect_recipe
from rffr_jax.command.export_model import export_model
from rffr_jax.data.image_hashes import ImageHashes
from rffr_jax.errors import UserError
from rffr_jax.main import run
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.runs import installed_model
from rffr_jax.training.fine_tuning import with_settings_of_detector
from rffr_jax.training.initial_weights import read_initial_detector
from tests import jobs

OTHERS = [flag for flag in jobs.FIXED["detect"] if flag not in jobs.MODEL]


def fine_tune(workdir: Path, *flags: str) -> int:
    """The job `detect` without the flags that `init_from` brings with it; its exit code."""
    config = f"--config={jobs.CONFIGS}/detect.py"
    changes = [f"--config.{flag}" for flag in ("data.workers=0", *flags)]
    return run(["rffr-jax", config, f"--workdir={workdir}", *OTHERS, *changes])


@pytest.fixture(scope="module")
def model(tmp_path_factory, detector):
    """The detector as a model folder, where an installed package has one."""
    package = tmp_path_factory.mktemp("site") / "rffr_jax_for_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    export_model(detector, package / "detector")
    return package / "detector"


@pytest.fixture
def crops():
    return np.random.default_rng(0).integers(0, 256, (3, jobs.SIZE, jobs.SIZE, 3), np.uint8)


def test_it_starts_from_the_scores_of_the_detector(
    tmp_path, detector, model, data, crops, monkeypatch
):
    monkeypatch.syspath_prepend(model.parents[1])
    monkeypatch.setattr(installed_model, "PACKAGE", model.parent.name)
    scores = rffr_jax.load_detector(detector).score(crops)
    np.testing.assert_array_equal(rffr_jax.load_detector("box").score(crops), scores)
    before = jobs.metric_lines(detector)[-1]
    still = ("steps=1", "optimizer.learning_rate=1e-12", "data.methods=columns")
    for name in (str(detector), "box"):
        workdir = tmp_path / Path(name).name
        assert fine_tune(workdir, *data, *still, f"init_from={name}") == 0
        first = jobs.metric_lines(workdir)[0]
        assert first == before | {"step": 0}
        tuned = rffr_jax.load_detector(workdir)
        np.testing.assert_allclose(tuned.score(crops), scores, atol=1e-6)
        assert tuned.about["trained_methods"] == ["columns", "rows"]
        card = (workdir / "model_card.md").read_text()
        assert f"It was trained further from `{name}`" in card
        assert tuned._trained.knows_its_origins == (name != "box")
        config = json.loads((workdir / "config.json").read_text())
        assert config["mae"] == ("box" if name == "box" else f"{detector}/checkpoints/mae")
    elsewhere = tmp_path / "rffr_jax_elsewhere"
    shutil.copytree(model.parent, elsewhere)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(installed_model, "PACKAGE", elsewhere.name)
    assert fine_tune(tmp_path / "box", *data, *still, "init_from=box") == 0
    seen = ImageHashes.load(detector / "training_images.npz").digests
    assert len(seen) > 4
    tuned_from_workdir = tmp_path / detector.name / "training_images.npz"
    assert {*seen} <= {*ImageHashes.load(tuned_from_workdir).digests}


def test_another_detector_starts_from_the_mae_in_a_model_folder(tmp_path, model, mae, data):
    for name, start in (("from_mae", mae), ("from_detector", model)):
        flags = (f"mae={start}", f"detector.init={start}", "steps=2")
        assert jobs.start("detect", tmp_path / name, *data, *flags) == 0
    jobs.assert_same_run(tmp_path / "from_mae", tmp_path / "from_detector", step="2")


@pytest.mark.slow
def test_it_learns_is_exported_and_predicts(tmp_path, model, data, faces, crops):
    learn = ("steps=60", "evaluate_every=60", "optimizer.learning_rate=3e-3", f"init_from={model}")
    assert fine_tune(tmp_path / "run", *data, *learn, "data.methods=columns") == 0
    losses = [line["loss"] for line in jobs.metric_lines(tmp_path / "run") if "loss" in line]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    export_model(tmp_path / "run", tmp_path / "exported")
    tuned = rffr_jax.load_detector(tmp_path / "exported")
    np.testing.assert_array_equal(
        tuned.score(crops), rffr_jax.load_detector(tmp_path / "run").score(crops)
    )
    np.testing.assert_array_equal(  # the MAE is the same
        tuned.explain(crops[0]).residual, rffr_jax.load_detector(model).explain(crops[0]).residual
    )
    picture = faces / "test" / "columns0.png"
    said = jobs.predict(tmp_path / "out", tmp_path / "exported", picture, *jobs.GIVEN)
    assert said["detector"]["path"] == str(tmp_path / "exported")


@pytest.mark.slow
def test_the_loss_on_patches_and_a_resumed_run(tmp_path, model):
    drawn = ("synthetic:0#train?limit=12", "synthetic:0#validation?limit=8")
    data = (f"data.train={drawn[0]}", f"data.validation={drawn[1]}", f"init_from={model}")
    flags = (*data, "detector.patch_loss=1.0")
    assert fine_tune(tmp_path / "whole", *flags) == 0
    assert "patch_loss" in jobs.metric_lines(tmp_path / "whole")[1]
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert (config["model"]["size"], config["init_from"]) == ("tiny", str(model))
    assert fine_tune(tmp_path / "whole", *flags) == 0  # done already


def test_mistakes_are_one_line(tmp_path, detector, mae, model, data, capsys, monkeypatch):
    monkeypatch.setattr(installed_model, "PACKAGE", "rffr_jax_not_installed")
    for flags, message in [
        ((f"init_from={model}", "model.size=mini"), f"model.size: init_from={model} brings its"),
        ((f"init_from={model}", f"mae={mae}"), f"mae: init_from={model} brings its own"),
        ((f"init_from={mae}",), f"init_from={mae} holds no detector; name a workdir of detect"),
        (("init_from=gone",), "init_from=gone holds no detector"),
        (("init_from=box",), "none is installed; `pip install ./pretrained`"),
    ]:
        assert fine_tune(tmp_path / "run", *data, *flags) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert message in line
    assert not (tmp_path / "run").exists()
    about = json.loads((model / "config.json").read_text())["about"]
    settings = DetectionSettings.from_json(about["detection"])
    other = dataclasses.replace(settings, alpha=2.0, embedding="logdct")
    with pytest.raises(UserError, match=r"other settings \(alpha 4.0 there, 2.0 here; embedding l"):
        read_initial_detector(model, other)
    read_initial_detector(detector, dataclasses.replace(settings, patch_head=True))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"job": "detect"},
        {"job": "detect", "detector": []},
        {"about": []},
        {"about": {"detection": []}},
        {"about": {"detection": {"model": {}}}},
    ],
)
def test_a_config_that_says_no_detector_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps(content))
    config = detect.get_config()
    config.init_from = str(tmp_path)
    with pytest.raises(UserError, match=f"init_from={tmp_path} holds no detector"):
        with_settings_of_detector(config, ())


def test_the_mae_that_a_recipe_starts_from_is_not_asked_for(model):
    config = detect_recipe.get_config()
    assert config.detector.init == "runs/pretrain"
    config.init_from = str(model)
    assert with_settings_of_detector(config, ()).detector.init == ""


def test_faces_are_cut_out_as_the_detector_knows_them(
    tmp_path, detector, data, monkeypatch, capsys
):
    crop = {"size": jobs.SIZE, "scale": 1.3, "alignment": "similarity", "interpolation": "area"}
    finder = {"detector": "retinaface", "weights_sha256": "0" * 64, "smallest_face": 20}
    record = {**crop, **finder, "image_format": "png"}
    (tmp_path / "preparation.json").write_text(json.dumps(record))
    there = rffr_jax.load_detector(detector)
    there.save_pretrained(tmp_path / "model", preparation=tmp_path / "preparation.json")
    flags = (*data, f"init_from={tmp_path}/model", "steps=1")
    assert fine_tune(tmp_path / "run", *flags) == 0
    assert rffr_jax.load_detector(tmp_path / "run").about["preparations"] == [record]
    other = [record | {"scale": 1.0}]
    for module in ("rffr_jax.training.training_set", "rffr_jax.data.readers.prepared"):
        monkeypatch.setattr(f"{module}.collect_preparations", lambda dataset: other)
    assert fine_tune(tmp_path / "refused", *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "data.train: the faces of" in line
    assert "scale: 1.3, 1.0" in line
