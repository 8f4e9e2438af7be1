"""The Python examples of README and docs, run as they stand there."""

import pathlib
import re
import shutil

import numpy as np
import pytest
import skimage.data
from PIL import Image

from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.synthetic.person import procedural_landmarks
from rffr_jax.synthetic.procedural_face import render_face
from tests import jobs
from tests.faces.test_shards import draw_records, write

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)
ELSEWHERE = {
    "docs/adding_a_benchmark.md",  # its test uses what the example defines
    "docs/adding_a_detector.md",  # tests/rivals/test_adding_a_detector.py
    "docs/data.md",  # tests/faces/benchmarks/test_recipes.py
    "docs/export.md",  # tests/command/test_export.py, tests/convert/test_export_parity.py
}


@pytest.fixture
def folder(tmp_path, monkeypatch, detector):
    """The current folder, with a detector, also the demo's, and a photograph, as in examples."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/detect").symlink_to(detector)
    (tmp_path / "runs/quickstart/seed_0").mkdir(parents=True)
    (tmp_path / "runs/quickstart/seed_0/RFFR").symlink_to(detector)
    monkeypatch.setattr("rffr_jax.runs.installed_model.PACKAGE", "rffr_jax_not_installed")
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.jpg")
    return tmp_path


def run_example(page: str, **given) -> dict:
    (example,) = EXAMPLE.findall((ROOT / page).read_text(encoding="utf-8"))
    exec(example, given)
    return given


def test_every_example_is_run():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/*.md")]
    names = {
        page.relative_to(ROOT).as_posix() for page in pages if EXAMPLE.search(page.read_text())
    }
    assert names - ELSEWHERE == {
        "README.md",
        "docs/coming_from.md",
        "docs/predict.md",
        "docs/metrics.md",
        "docs/datasets.md",
        "docs/manipulations.md",
    }


def test_readme(folder, capsys):
    verdict = run_example("README.md")["verdict"]
    assert len(verdict.faces) == 1
    assert str(verdict) in capsys.readouterr().out
    with Image.open(folder / "evidence0.png") as picture:
        assert picture.width > 4 * jobs.SIZE


def test_scoring_files(folder, capsys):
    found = run_example("docs/predict.md")
    (face,) = found["verdict"].faces
    assert (found["scores"].shape, found["scores"].dtype) == ((1,), np.float64)
    assert found["scores"][0] == pytest.approx(face.score, abs=2e-6)
    shown = found["shown"]
    assert shown.score == pytest.approx(found["scores"][0], abs=2e-6)
    for pixels in (shown.image, shown.reconstruction, shown.residual):
        assert pixels.shape == (jobs.SIZE, jobs.SIZE, 3)
    assert shown.heat.shape == (2, 2)
    said = capsys.readouterr().out
    assert str(found["scores"] > found["detector"].threshold) in said
    assert str(found["verdict"]) in said


def test_scores_of_deepfakebench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = [f"rgb/{kind}/{n}/{frame}.png" for kind in "ab" for n in range(3) for frame in (0, 1)]
    labels, scores = np.repeat([0, 1], 6), np.linspace(0, 1, 12)
    named = {"data_dict": {"image": images}, "label_nps": labels, "predictions_nps": scores}
    run_example("docs/coming_from.md", key="Celeb-DF-v2", **named)
    rows = Predictions.read_csv(tmp_path / "Celeb-DF-v2.csv")
    assert [example.id for example in rows.examples] == images
    assert len({example.video for example in rows.examples}) == 6
    assert list(rows.scores) == pytest.approx(list(scores))


@pytest.mark.slow
def test_features(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/features").mkdir(parents=True)
    features = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    np.savez(tmp_path / "runs/features/features.npz", features=features)
    assert run_example("docs/metrics.md")["points"].shape == (40, 2)


def test_manipulations():
    photographs = []
    for identity in range(8):
        image = np.rint(render_face(3, identity, 112).image * 255).astype(np.uint8)
        landmarks = procedural_landmarks(3, identity) * 112 - 0.5
        photographs.append((image, landmarks.astype(np.float32), f"p{identity}"))
    fake = run_example("docs/manipulations.md", photographs=photographs)["fake"]
    assert fake.image.shape == (112, 112, 3)
    assert 0 < fake.mask.mean() < 1


def test_prepared_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = write(tmp_path / "made", {"train": draw_records(1, "png")}, "png")
    shutil.copytree(written, tmp_path / "data/ffpp/1.0.0")
    image = run_example("docs/datasets.md")["source"][0]["image"]
    assert (image.dtype, image.shape[2]) == (np.uint8, 3)
