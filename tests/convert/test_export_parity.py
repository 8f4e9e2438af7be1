"""The exported PyTorch module scores as the detector here does."""
# pyright: reportMissingImports=false

import importlib.util
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.special import expit

import rffr_jax
from rffr_jax.command import export as export_command
from rffr_jax.command.export import export
from rffr_jax.convert.to_pytorch import export_pytorch
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from tests.random_detectors import random_images, settings_of, write_random_detector

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

ROOT = pathlib.Path(__file__).parents[2]
BOX = ROOT / "pretrained/rffr_jax_pretrained/detector"
KINDS = {
    "rffr": {},
    "covered": {"k": 3, "blocks": "covered"},
    "several_blocks_a_pass": {"blocks_per_pass": 2, "embedding": "conv+logdct"},
    "full": {"k": 3, "blocks": "full", "patch_head": True},
    "residual": {"inputs": "residual"},
    "vit": {"inputs": "original", "blocks": "full", "mae": None},
}


def load_exported(output):
    spec = importlib.util.spec_from_file_location("exported_detector", output / "detector.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(output)


def assert_scores_agree(folder, images, output):
    detector = rffr_jax.load_detector(folder, dtype="float32")
    export(detector, output, "torch")
    found = expit(load_exported(output)(torch.from_numpy(images)).double().numpy())
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


def test_the_lines_of_the_docs_give_score_and_verdict(tmp_path):
    detector = rffr_jax.load_detector(BOX, dtype="float32")
    export(detector, tmp_path / "detect-torch", "torch")
    face = Image.fromarray(load_dataset("synthetic:0#test").load(0, 170)[:130])
    face.save(tmp_path / "face.png")
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", (ROOT / "docs/export.md").read_text())
    (lines,) = [block for block in blocks if "import torch" in block]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.modules['rffr_jax'] = None\n{lines}"],
        **{"cwd": tmp_path, "capture_output": True, "text": True, "check": False, "timeout": 300},
    )
    assert done.returncode == 0, done.stderr
    score, verdict = done.stdout.split()
    wanted = detector.score([face])[0]
    assert float(score) == pytest.approx(wanted, abs=1e-4)
    assert verdict == ("fake" if wanted > detector.threshold else "real")


def test_images_of_another_size_or_type_are_refused(tmp_path):
    folder = write_random_detector(tmp_path / "detector", settings_of())
    export(rffr_jax.load_detector(folder, dtype="float32"), tmp_path / "out", "torch")
    model = load_exported(tmp_path / "out")
    for images, told in [
        (
            random_images(2, 60),
            r"torch.uint8 \[2, 60, 60, 3\]; give torch.uint8 \[batch, 48, 48, 3\]",
        ),
        (random_images(2).astype(np.float32), "torch.float32"),
        (random_images(2).transpose(0, 3, 1, 2), r"\[2, 3, 48, 48\]"),
    ]:
        with pytest.raises(ValueError, match=told):
            model(torch.from_numpy(images))


def test_an_export_with_other_scores_is_refused(tmp_path, monkeypatch):
    folder = write_random_detector(tmp_path / "detector", settings_of())

    def export_another(*parts):
        arrays, network = export_pytorch(*parts)
        bias = arrays["head.bias"] + np.array([0, 0.01], np.float32)
        return arrays | {"head.bias": bias}, network

    monkeypatch.setattr(export_command, "export_pytorch", export_another)
    with pytest.raises(UserError, match="exported, its scores differ by up to"):
        export(rffr_jax.load_detector(folder, dtype="float32"), tmp_path / "out", "torch")
    assert not (tmp_path / "out").exists()
