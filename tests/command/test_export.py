"""`rffr-jax export`: whole detectors that run without the package, and say what they read."""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from scipy.special import expit

import rffr_jax
from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.command import entry
from rffr_jax.command import export as export_command
from rffr_jax.convert import to_stablehlo
from rffr_jax.convert.to_pytorch import require_pytorch_modules
from rffr_jax.convert.to_stablehlo import export_stablehlo
from rffr_jax.errors import UserError
from rffr_jax.evaluation.scoring import Scorer
from rffr_jax.images.image_formats import decode_crop, encode_crop
from rffr_jax.models.sizes import BackboneSettings, ModelSettings, UNetSettings
from rffr_jax.rivals import rival_settings
from rffr_jax.runs.model_folder import is_model_folder
from tests.random_detectors import (
    random_detector,
    random_images,
    settings_of,
    write_random_detector,
)

DOCS = pathlib.Path(__file__).parents[2] / "docs/export.md"
JAX_LINES, _, JPEG_LINES = re.findall(r"(?ms)^```python\n(.*?)^```", DOCS.read_text())
WHOLE = {"inputs": "original", "blocks": "full", "mae": None}


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A model folder of a tiny RFFR detector with a patch head."""
    return write_random_detector(
        tmp_path_factory.mktemp("models") / "detect", settings_of(patch_head=True)
    )


def exported(detector, folder, to):
    """The folder and its description."""
    assert entry.run(["export", str(detector), "--to", to, "--output", str(folder)]) == 0
    return folder, json.loads((folder / "detector.json").read_text())


@pytest.mark.slow
def test_the_loader_of_the_docs_scores_without_the_package(detector, tmp_path):
    _, about = exported(detector, tmp_path / "detect-stablehlo", "stablehlo")
    face = Image.fromarray(random_images(1, 170)[0, :130])
    face.save(tmp_path / "face.png")
    program = f"import sys\nsys.modules['rffr_jax'] = None\n{JAX_LINES}"
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        **{"cwd": tmp_path, "env": environment, "capture_output": True, "text": True},
        **{"check": False, "timeout": 120},
    )
    assert done.returncode == 0, done.stderr
    score, verdict = done.stdout.split()
    wanted = rffr_jax.load_detector(detector).score([face])[0]
    assert float(score) == pytest.approx(wanted, abs=1e-6)
    assert verdict == ("fake" if wanted > 0.5 else "real")
    assert about["platforms"] == ["cpu", "cuda"]


def test_the_jpeg_lines_of_the_docs_make_the_pixels_that_predict_reads():
    crop = random_images(1)[0]
    found = {"crop": crop, "np": np, "Image": Image}
    exec(JPEG_LINES, found)
    wanted = decode_crop(encode_crop(crop, "jpeg"), "jpeg", 48, "")
    np.testing.assert_array_equal(found["crop"], wanted)
    assert (wanted != crop).any()


def scores_here(detection, parameters, frozen, images):
    scorer = Scorer(detection, frozen, make_mesh(), batch_size=4, workers=0, max_bad_fraction=1.0)
    return scorer.score_images(parameters, images)[0]


def assert_exported_scores_are_the_same(settings):
    spread = 0.002 if settings.is_rival else 0.05  # deep networks without trained norms overflow
    detection, parameters, frozen = random_detector(settings, spread)
    images = random_images(3, settings.model.image_size)
    wanted = scores_here(detection, parameters, frozen, images)
    assert np.abs(wanted - 0.5).max() > 1e-4
    assert ((wanted > 0) & (wanted < 1)).all()
    program = jax.export.deserialize(bytearray(export_stablehlo(detection, parameters, frozen)))
    for batch in (1, 3):
        margins = np.asarray(program.call(images[:batch]), np.float64)
        np.testing.assert_allclose(expit(margins), wanted[:batch], atol=1e-5)


def test_a_program_takes_any_number_of_images():
    assert_exported_scores_are_the_same(settings_of(**WHOLE))


def test_verdicts_of_an_overconfident_detector_are_the_same():
    detection, parameters, frozen = random_detector(settings_of(**WHOLE))
    parameters["head"]["bias"] = np.array([0, 25], np.float32)
    images = random_images(4)
    wanted = scores_here(detection, parameters, frozen, images)
    assert (wanted.astype(np.float32) == 1).all()
    assert np.unique(wanted).size == 4
    program = jax.export.deserialize(bytearray(export_stablehlo(detection, parameters, frozen)))
    found = expit(np.asarray(program.call(images), np.float64))
    threshold = np.mean(np.sort(wanted)[1:3])
    assert (found > threshold).tolist() == (wanted > threshold).tolist()


RIVALS = {
    "xception": {"width": 1 / 16, "middle_blocks": 1},
    "sbi": {"width": 0.05, "depth": 0.3},
    "recce": {"width": 1 / 32, "middle_blocks": 2},
    "uia_vit": {"size": "mini", "patch_size": 12},
}
KINDS = {
    **{
        name: {"model": ModelSettings("tiny", 48, 48), "k": 1, **WHOLE, "backbone": name}
        for name in RIVALS
    },
    "unet": {"mae": None, "residual": "unet", "unet": UNetSettings(48, 4, 2)},
    "ridge": {"mae": None, "residual": "ridge", "ridge_rank": 4},
    "high_pass": {"mae": None, "residual": "high_pass"},
    "pretrained": {"pretrained": BackboneSettings(32, 2, 2, 42, 14)},
    "several_blocks_a_pass": {"blocks_per_pass": 2, "embedding": "conv+logdct"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_detector_becomes_a_program(kind):
    rival = {"rival": rival_settings(kind, RIVALS[kind])} if kind in RIVALS else {}
    assert_exported_scores_are_the_same(settings_of(**KINDS[kind], **rival))


def test_the_description_says_what_goes_in_and_comes_out(detector, tmp_path):
    folder, about = exported(detector, tmp_path / "detect-torch", "torch")
    assert about["input"]["shape"] == ["batch", 48, 48, 3]
    assert (about["input"]["dtype"], about["input"]["range"]) == ("uint8", [0, 255])
    assert about["input"]["preparations"] == []
    jpeg = {"image_format": "jpeg", "quality": 95, "chroma": "4:4:4"}
    assert about["input"]["encoding"].items() >= jpeg.items()
    assert "centre square" in about["input"]["resizing"]
    assert "BILINEAR" in about["input"]["resizing"]
    assert "float64" in about["output"]["score"]
    assert about["network"]["size"] == 48
    assert about["thresholds"]["image"]["value"] == 0.5
    loaded = rffr_jax.load_detector(detector)
    assert (about["digest"], about["note"]) == (loaded.digest, loaded.note)
    files = {"detector.py", "detector.safetensors"}
    assert {path.name for path in folder.iterdir()} == files | {"detector.json", "model_card.md"}
    assert about["sha256"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files
    }
    assert (folder / "model_card.md").read_text() == (detector / "README.md").read_text()
    assert not is_model_folder(folder)


def test_pytorch_gets_every_array_that_scores(detector, tmp_path):
    folder, about = exported(detector, tmp_path / "detect-torch", "torch")
    arrays = load_file(folder / "detector.safetensors")
    _, parameters, frozen = rffr_jax.load_detector(detector).parts
    np.testing.assert_array_equal(
        arrays["mae.decoder_blocks.1.fc1.weight"],
        frozen["decoder"]["blocks"]["expand"]["kernel"][1].T,
    )
    branch = parameters["branches"]["residual"]
    np.testing.assert_array_equal(arrays["branches.residual.positions"], branch["positions"])
    np.testing.assert_array_equal(arrays["head.weight"], parameters["head"]["kernel"].T)
    sizes = {part: sum(a.size for n, a in arrays.items() if n.startswith(part)) for part in "mbh"}
    of = {name: sum(map(np.size, jax.tree.leaves(tree))) for name, tree in parameters.items()}
    assert (sizes["b"], sizes["h"]) == (of["branches"], of["head"])
    positions = 2 * 16 * 32  # of encoder and decoder; they are computed here
    assert sizes["m"] == sum(map(np.size, jax.tree.leaves(frozen))) + positions
    passes = about["network"]["passes"]
    assert sorted(patch for hidden in passes for patch in hidden) == list(range(16))


def test_what_is_no_vit_is_refused_for_pytorch():
    rival = {"rival": rival_settings("xception", RIVALS["xception"])}
    for changes, message in [
        ({**KINDS["xception"], **rival}, "detector.backbone=xception; --to stablehlo takes every"),
        (KINDS["high_pass"], "this detector has detector.residual=high_pass"),
        (KINDS["pretrained"], "this detector has a pretrained backbone"),
    ]:
        with pytest.raises(UserError, match=re.escape(message)):
            require_pytorch_modules(settings_of(**changes))
    require_pytorch_modules(settings_of(**{**KINDS["high_pass"], **WHOLE}))


@pytest.mark.parametrize("to", ["torch", "stablehlo"])
def test_a_broken_detector_is_refused(to, detector, tmp_path, monkeypatch):
    loaded = rffr_jax.load_detector(detector, dtype="float32")
    bias = loaded.parts[1]["head"]["bias"]
    loaded.parts[1]["head"]["bias"] = bias.at[0].set(np.nan)
    monkeypatch.setattr(export_command, "load_detector", lambda *_, **__: loaded)
    with pytest.raises(UserError, match="its scores are not finite"):
        exported(detector, tmp_path / "out", to)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("change", "told"), [(0.01, "up to 0.0"), (np.nan, "up to nan")])
def test_an_export_with_other_scores_is_refused(change, told, tmp_path, monkeypatch):
    folder = write_random_detector(tmp_path / "detect", settings_of(**WHOLE))

    def export_another(detection, parameters, frozen):
        head = parameters["head"] | {"bias": parameters["head"]["bias"] + np.array([0, change])}
        return export_stablehlo(detection, parameters | {"head": head}, frozen)

    monkeypatch.setattr(export_command, "export_stablehlo", export_another)
    with pytest.raises(UserError, match=f"exported, its scores differ by {told}"):
        exported(folder, tmp_path / "out", "stablehlo")
    assert [path.name for path in tmp_path.iterdir()] == ["detect"]


def test_mistakes_are_named(detector, tmp_path, monkeypatch):
    for arguments, message in [
        ((tmp_path, "torch"), "holds no checkpoint"),
        ((detector, "onnx"), "invalid choice: 'onnx'"),
    ]:
        with pytest.raises(UserError, match=re.escape(message)):
            exported(arguments[0], tmp_path / "out", arguments[1])
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        exported(detector, detector, "torch")
    monkeypatch.setattr(to_stablehlo, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="holds less than 2; export them with --to torch"):
        exported(detector, tmp_path / "out", "stablehlo")
    assert not list(tmp_path.iterdir())
