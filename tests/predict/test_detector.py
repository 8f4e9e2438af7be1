"""A detector in Python: scores, explanations, the reference of its heat, and which one is used."""

import csv
import json
import shutil

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import rffr_jax
from configs import quickstart
from rffr_jax.errors import UserError
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.abstract import PARAMETERS
from rffr_jax.models.sizes import ModelSettings, UNetSettings
from rffr_jax.models.unet import UNet
from rffr_jax.predict import evidence
from rffr_jax.predict.detector import DEMO_DETECTOR
from rffr_jax.predict.evidence import NO_CAUSE, NO_REFERENCE
from rffr_jax.runs import installed_model
from rffr_jax.runs.checkpoints.names import FROZEN, LATEST
from rffr_jax.runs.checkpoints.weights import save_weights
from tests import jobs
from tests.jobs import GIVEN, predict


def test_detector_from_python(detector, faces, evaluated, monkeypatch):
    loaded = rffr_jax.load_detector(detector, batch_size=4)
    names = [f"rows{n}.png" for n in range(5)]
    images = [np.asarray(Image.open(faces / "test" / name)) for name in names]
    scores = loaded.score(images)
    assert scores == pytest.approx([evaluated[name] for name in names], abs=2e-6)
    np.testing.assert_allclose(loaded.score(np.stack(images)), scores, atol=2e-6)
    assert loaded.score([]).shape == (0,)
    shown = loaded.explain(images[1])
    assert shown.score == pytest.approx(scores[1], abs=2e-6)
    np.testing.assert_array_equal(shown.image, images[1].astype(np.float32) / 255)
    assert shown.reconstruction is not None
    assert shown.residual is not None
    assert shown.heat is not None
    difference = shown.reconstruction - shown.image
    np.testing.assert_allclose(shown.residual, np.clip(4 * difference, -1, 1), atol=1e-5)
    for row in range(2):
        for column in range(2):
            block = shown.residual[24 * row : 24 * row + 24, 24 * column : 24 * column + 24]
            assert shown.heat[row, column] == pytest.approx(np.abs(block).mean(), rel=1e-5)
    np.testing.assert_allclose(
        loaded.score(np.stack(images[:4]).reshape(2, 2, *images[0].shape)),
        scores[:4].reshape(2, 2), atol=2e-6,
    )  # fmt: skip
    assert loaded.score(images[0]).shape == ()
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for a user
    for wrong in (images[0] / 255, images[0][..., :1], images[0][None], None):
        with pytest.raises(UserError, match=r"image 0 is .*give uint8 RGB"):
            loaded.score([wrong])  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="images is a NoneType; give a list of face crops"):
        loaded.score(None)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_evidence_of_a_unet_is_its_copy(tmp_path):
    model, unet = ModelSettings("tiny", 48, 12), UNetSettings(48, width=2, depth=2)
    settings = DetectionSettings(
        model=model, mae=None, inputs="both", blocks="random", residual="unet", k=2, alpha=4.0,
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), unet=unet,
    )  # fmt: skip
    copies = UNet(unet, dtype=jnp.float32, rngs=nnx.Rngs(3))
    frozen = nnx.to_pure_dict(nnx.state(copies, PARAMETERS))
    about = {"kind": "detector", "detection": settings.to_json(), "trained_methods": ["rows"],
             "trained_datasets": ["faces"], "preparations": []}  # fmt: skip
    parameters = Detection(settings, jnp.float32).init_parameters(0)
    save_weights(tmp_path / LATEST, 0, parameters, about)
    save_weights(tmp_path / FROZEN["unet"], 0, frozen, {"kind": "unet"})
    image = np.random.default_rng(4).integers(0, 256, (48, 48, 3), np.uint8)
    shown = rffr_jax.load_detector(tmp_path).explain(image)
    expected = np.asarray(copies(jnp.asarray(image[None] / 255, jnp.float32)))[0]
    assert shown.reconstruction is not None
    assert shown.residual is not None
    np.testing.assert_allclose(shown.reconstruction, expected, atol=1e-4)
    residual = np.clip(4 * (expected - image / 255), -1, 1)
    np.testing.assert_allclose(shown.residual, residual, atol=1e-3)
    drawn = np.asarray(shown.picture())
    left, top = 8 + 200, 15 + 16  # of the second picture, every pixel four times as large
    copy = drawn[top : top + 192 : 4, left : left + 192 : 4]
    np.testing.assert_allclose(copy / 255, np.clip(expected, 0, 1), atol=0.01)


def test_heat_is_held_to_the_real_faces_of_validation(
    tmp_path, calibrated, detector, faces, monkeypatch
):
    copy, _ = calibrated
    loaded = rffr_jax.load_detector(copy)
    assert loaded.reference is not None
    with (faces / "validation.csv").open(newline="") as file:
        paths = [faces / row["path"] for row in csv.DictReader(file) if row["label"] == "0"]
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    assert len(images) == 6
    heat = np.array(
        [shown.heat for shown in loaded.explain_crops(images, *loaded.score_crops(images))]
    )
    expected = np.quantile(heat, 0.95, axis=0)
    np.testing.assert_allclose(loaded.reference.high, expected, rtol=2e-3)
    image = np.asarray(Image.open(faces / "test/rows0.png"))
    shown = loaded.explain(image)
    assert shown.heat is not None
    assert shown.relative_heat is not None
    np.testing.assert_allclose(shown.relative_heat, shown.heat / expected, rtol=2e-3)
    assert rffr_jax.load_detector(detector).explain(image).relative_heat is None

    notes = []
    draw = evidence.draw_contact_sheet
    monkeypatch.setattr(
        evidence, "draw_contact_sheet", lambda *given: notes.append(given[-1]) or draw(*given)
    )
    for name, folder in (("relative", copy), ("absolute", detector)):
        said = predict(tmp_path / name, folder, faces / "test/rows0.png", *GIVEN)
        known = said["residual_reference"]
        assert (known and known["faces"]) == (6 if folder == copy else None)
    assert "over the 95th percentile that 6 real validation faces have there" in notes[0]
    assert NO_REFERENCE in notes[1]
    for note in notes:
        assert note.endswith(NO_CAUSE)


def test_the_detector_of_the_demo_is_used_where_none_is_named(
    tmp_path, detector, faces, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(installed_model, "PACKAGE", "rffr_jax_not_installed")
    assert jobs.start("predict", "out", f"inputs={faces}/test/rows0.png", *GIVEN) == 2
    assert "`make demo` trains one" in capsys.readouterr().err.splitlines()[-1]
    for seed in (2, 10, 0):
        folder = tmp_path / f"runs/quickstart/seed_{seed}"
        shutil.copytree(detector, folder / "RFFR")
        done = {"done": seed > 0, "seconds": 1.0}  # seed 0 was not finished
        (folder / "RFFR" / "run.json").write_text(json.dumps(done))
    assert jobs.start("predict", "out", f"inputs={faces}/test/rows0.png", *GIVEN) == 0
    said = json.loads((tmp_path / "out/predictions.json").read_text())
    assert said["detector"]["path"] == "runs/quickstart/seed_2/RFFR"
    assert "runs/quickstart/seed_2/RFFR, which `make demo` trained" in capsys.readouterr().err
    assert DEMO_DETECTOR == quickstart.OURS
    assert str(rffr_jax.load_detector().folder) == said["detector"]["path"]
    # An installed one comes first.
    package = tmp_path / "site" / "rffr_jax_for_a_test"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    card = "---\nlicense: mit\n---\n# Name\n\nA demonstration;\nno score is evidence.\n"
    rffr_jax.load_detector(detector).save_pretrained(package / "detector", card=card)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(installed_model, "PACKAGE", package.name)
    installed = rffr_jax.load_detector()
    assert installed.folder == package / "detector"
    assert installed.note == "A demonstration; no score is evidence"
