"""The exported PyTorch module scores as the detector here does."""
# pyright: reportMissingImports=false

import importlib.util
import pathlib

import numpy as np
import pytest

import rffr_jax
from rffr_jax.command.export import export
from rffr_jax.data.specs import load_dataset
from tests.random_detectors import random_images, settings_of, write_random_detector

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

BOX = pathlib.Path(__file__).parents[2] / "pretrained/rffr_jax_pretrained/detector"
KINDS = {
    "rffr": {},
    "covered": {"k": 3, "blocks": "covered"},
    "several_blocks_a_pass": {"blocks_per_pass": 2, "embedding": "conv+logdct"},
    "full": {"k": 3, "blocks": "full", "patch_head": True},
    "residual": {"inputs": "residual"},
    "vit": {"inputs": "original", "blocks": "full", "mae": None},
}


def assert_scores_agree(folder, images, output):
    detector = rffr_jax.load_detector(folder, dtype="float32")
    export(detector, output, "torch")
    spec = importlib.util.spec_from_file_location("exported_detector", output / "detector.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load(output)
    found = model(torch.from_numpy(images)).numpy()
    wanted = detector.score(images)
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_detector(kind, tmp_path):
    folder = write_random_detector(tmp_path / "detector", settings_of(**KINDS[kind]))
    assert_scores_agree(folder, random_images(4), tmp_path / "out")


def test_the_detector_in_the_box(tmp_path):
    faces = load_dataset("synthetic:0#test")
    images = np.stack([faces.load(number, 112) for number in range(6)])
    assert_scores_agree(BOX, images, tmp_path / "out")
