"""docs/from_nothing_to_a_detector.md: its commands, in order, at small size on tiny videos."""

import csv
import json
import pathlib
import re
import shlex

import pytest

from rffr_jax.command import entry
from tests.data.test_make_manipulations import load_script
from tests.faces import layouts
from tests.faces.movies import face_frames, write_movie
from tests.faces.test_prepare_faces import Movies
from tests.jobs import FIXED, GIVEN
from tests.test_repository import ROOT

PAGE = ROOT / "docs/from_nothing_to_a_detector.md"
PREPARE = ["--size", "48", "--workers", "0"]  # argparse takes the last of two values
NOT_RUN = ("venv", "pip")  # they install


def page_commands() -> list[list[str]]:
    """The words of each command in a fenced block, in the order of the page."""
    blocks = re.findall(r"(?ms)^```\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line]


def small(words: list[str]) -> list[str]:
    """The flags of a job at small size behind those of the page."""
    job = words[1].partition(":")[0].removeprefix("recipes/")
    flags = [*FIXED[job], "--config.data.workers=0"]
    if "recipes" in words[1]:
        # Recipes hide four blocks together, and warm up for more steps than there are here.
        flags += ["--config.blocks.k=4", "--config.optimizer.warmup_steps=1"]
    if job == "predict":
        flags += [f"--config.{flag}" for flag in GIVEN[1:]] + ["--config.frames_per_video=2"]
    return [*words[1:], *(flag for flag in flags if "selection" not in flag)]


def test_the_page_has_ten_steps_and_every_command_is_known():
    steps = re.findall(r"(?m)^## (\d+)\. ", PAGE.read_text(encoding="utf-8"))
    assert steps == [str(number) for number in range(1, 11)]
    kinds = [" ".join(words[:2]) for words in page_commands()]
    jobs = ["pretrain", "recipes/pretrain:112", "residual", "detect", "recipes/detect:112"]
    jobs += ["evaluate", "predict", "export-model"]
    assert [kind for kind in kinds if kind.startswith("rffr-jax")] == [
        f"rffr-jax {job}" for job in ["doctor", *jobs, "predict"]
    ]


@pytest.mark.slow
def test_the_commands_lead_from_videos_to_a_detector_that_is_passed_on(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    layouts.faceforensics(tmp_path / "FF++", Movies())
    (tmp_path / "FF++/splits").rename(tmp_path / "SPLITS")
    write_media_table()
    write_movie(tmp_path / "VIDEO.mp4", face_frames(77, 6, 96))
    prepare = load_script("prepare_faces")
    for words in page_commands():
        if any(word in words for word in NOT_RUN):
            continue
        if words[1] == "scripts/prepare_faces.py":
            assert prepare.main([*words[2:], *PREPARE]) == 0, words
        elif words[:3] == ["python", "-m", "json.tool"]:
            assert json.loads((tmp_path / words[3]).read_text())
        elif words[1] in ("doctor", "export-model"):
            assert entry.run(words[1:]) == 0, words
        else:
            assert entry.run(small(words)) == 0, words
    for split in ("train", "validation", "test"):
        assert (tmp_path / f"data/faceforensics/1.0.0/{split}.png").is_file()
        assert list((tmp_path / "data/table/1.0.0").glob(f"table-{split}.array_record*"))
    results = json.loads((tmp_path / "runs/evaluate/results.json").read_text())
    assert set(results["FaceForensics++"]["methods"]) == {"Deepfakes", "NeuralTextures"}
    scores = [
        json.loads((tmp_path / run / "predictions.json").read_text())["files"][0]["score"]
        for run in ("runs/predict", "runs/shipped")
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def write_media_table():
    """Own media of the test's folder: a real and a fake in each split."""
    with open("media.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split"])
        for split in ("train", "validation", "test"):
            for label in ("real", "fake"):
                name = f"{split}_{label}.mp4"
                write_movie(pathlib.Path(name), face_frames(len(name), 4, 96))
                table.writerow([name, label, split])
