"""docs/backbones.md: its commands, in order, with small random networks of other projects."""

import csv
import json
import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from rffr_jax import load_detector, main
from rffr_jax.command import entry
from rffr_jax.synthetic.procedural_face import render_face
from scripts import convert_weights
from tests import jobs
from tests.convert.source_files import about
from tests.test_repository import ROOT

PAGE = ROOT / "docs" / "backbones.md"
NETWORKS = ROOT / "tests" / "convert" / "fixtures" / "vision"
SMALL = ("--config.data.workers=0", "--config.backbone.image_size=56")


def page_commands() -> list[list[str]]:
    """The words of each command in a fenced block, in the order of the page."""
    blocks = re.findall(r"(?ms)^```\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def download_dinov2(folder: pathlib.Path):
    """A `Dinov2Model` that transformers saved."""
    shutil.copytree(NETWORKS / "dinov2", folder)


def download_clip(folder: pathlib.Path):
    """A `CLIPModel` that transformers saved, in one file and with the positions' numbers, as in
    `openai/clip-vit-large-patch14`."""
    folder.mkdir()
    shutil.copy(NETWORKS / "clip" / "config.json", folder)
    arrays = {}
    for shard in NETWORKS.glob("clip/*.safetensors"):
        arrays |= safetensors.numpy.load_file(shard)
    positions = len(arrays["vision_model.embeddings.position_embedding.weight"])
    arrays["vision_model.embeddings.position_ids"] = np.arange(positions)[None]
    safetensors.numpy.save_file(arrays, folder / "model.safetensors", {"format": "pt"})


def draw_table(name: str, seed: int, people: int = 4):
    """NAME.csv of drawn faces with landmarks, and of each with stripes as its fake."""
    pathlib.Path(name).mkdir()
    with open(f"{name}.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "method", "source", "landmarks"))
        for person in range(people):
            face = render_face(seed, person, jobs.SIZE)
            landmarks = " ".join(map(str, face.landmarks.ravel()))
            pixels = np.rint(face.image * 255).astype(np.uint8)
            for label, method in enumerate(("real", "stripes")):
                path = f"{name}/{method}{person}.png"
                Image.fromarray(pixels).save(path)
                table.writerow((path, label, method, f"{name}/real{person}.png", landmarks))
                pixels = pixels.copy()
                pixels[::2] //= 2


def run(words: list[str]) -> int:
    """Runs a command of the page, a job at small size."""
    if words[:2] == ["python", "scripts/convert_weights.py"]:
        return convert_weights.main(words[2:])
    if words[0] == "rffr-jax":
        return entry.run(words[1:])
    assert words[:3] == ["python", "-m", "rffr_jax.main"], words
    job = re.fullmatch(r"--config=configs/(\w+)\.py", words[3])
    assert job, words
    size = SMALL if job[1] == "detect" else SMALL[:1]
    return main.run(["rffr_jax", *words[3:], *jobs.FIXED[job[1]], *size])


def test_the_page_converts_trains_tests_and_passes_on():
    commands = [" ".join(words) for words in page_commands()]
    starts = ["python scripts/convert_weights.py"]
    jobs_run = ("detect", "evaluate", "controls")
    starts += [f"python -m rffr_jax.main --config=configs/{job}.py" for job in jobs_run]
    starts += ["rffr-jax export-model", starts[2]]
    assert len(commands) == len(starts)
    assert all(map(str.startswith, commands, starts))
    assert "--config.detector.train=norms" in commands[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "folder", "download"),
    [
        ("dinov2", "dinov2-base", download_dinov2),
        ("clip", "clip-vit-large-patch14", download_clip),
    ],
)
def test_the_commands_lead_from_downloaded_weights_to_a_detector_that_is_passed_on(
    network, folder, download, mae, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(jobs.CONFIGS)
    shutil.copytree(mae, tmp_path / "runs" / "pretrain")
    for seed, name in enumerate(("TRAIN", "VALIDATION", "TEST")):
        draw_table(name, seed)
    download(tmp_path / folder)
    assert folder in PAGE.read_text(encoding="utf-8")
    results = []
    for command in page_commands():
        words = [
            word.replace("dinov2-base", folder).replace("/dinov2", f"/{network}")
            for word in command
        ]
        assert run(words) == 0, words
        if "--config=configs/evaluate.py" in words:
            found = json.loads((tmp_path / "runs/evaluate/results.json").read_text())
            results.append(found[f"{tmp_path.name}/TEST"]["methods"])
    assert about(tmp_path / "weights" / network)["network"] == network
    assert results[0] == results[1]
    assert json.loads((tmp_path / "runs/controls/controls.json").read_text())["rows"]
    crops = np.zeros((1, jobs.SIZE, jobs.SIZE, 3), np.uint8)
    passed_on = load_detector("my_detector", backbone=f"weights/{network}")
    np.testing.assert_array_equal(passed_on.score(crops), load_detector("runs/detect").score(crops))
