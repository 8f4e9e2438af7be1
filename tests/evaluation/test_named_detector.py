"""Detectors that have a name, `box` or `hf://...`: evaluated, and left as they are."""

import json

import pytest

from rffr_jax.runs import model_names
from tests import jobs
from tests.random_detectors import settings_of, write_random_detector

HUB = "hf://me/mine@abc"


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return write_random_detector(tmp_path_factory.mktemp("package") / "detector", settings_of())


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["box", HUB])
def test_thresholds_are_used_and_nothing_is_written_into_it(
    detector, name, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(model_names, "installed_model", lambda: detector)
    monkeypatch.setattr(model_names, "_found", {HUB: detector})
    monkeypatch.chdir(tmp_path)
    before = contents(detector.parent)
    data = ("data.tests=synthetic:0#test?limit=8", "data.validation=synthetic:0#validation?limit=8")
    assert jobs.start("evaluate", "out", f"detector={name}", *data) == 0
    assert contents(detector.parent) == before
    assert f"copy the detector with `rffr-jax export-model {name} DIR`" in caplog.text
    about = json.loads((tmp_path / "out/results.json").read_text())["about"]
    assert about["operating_point"]["chosen_on"] == ["synthetic:0#validation?limit=8"]


def test_residuals_are_kept_in_a_folder_of_ones_own(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(model_names, "installed_model", lambda: detector)
    monkeypatch.chdir(tmp_path)
    flags = ("detector=box", "data.tests=synthetic:0#test?limit=8")
    assert jobs.start("evaluate", "out", *flags, f"residuals.folder={tmp_path}/kept") == 0
    assert list((tmp_path / "kept").rglob("*.npy"))
