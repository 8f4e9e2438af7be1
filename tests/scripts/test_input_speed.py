"""The speed of images is printed for drawn faces and for photographs."""

import re

import cv2
import numpy as np
import pytest

from scripts import input_speed


@pytest.mark.slow
def test_drawn_faces_are_compared_with_one_core(capsys):
    before = cv2.getNumThreads()
    assert input_speed.main(["--size", "32", "--seconds", "0.5"]) == 0
    printed = capsys.readouterr().out
    [alone] = map(int, re.findall(r"one after another on one core: (\d+) images/s", printed))
    rows = re.findall(r"(\d) workers: (\d+) images/s, ([\d.]+) times as many", printed)
    assert [int(workers) for workers, _, _ in rows] == [0, 1, 2]
    for _, rate, ratio in rows:
        assert float(ratio) == pytest.approx(int(rate) / alone, abs=0.05 + 2 / alone)
    assert cv2.getNumThreads() == before


@pytest.mark.slow
def test_photographs_are_read_in_every_format(capsys, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(input_speed.BATCH):
        image = rng.integers(0, 256, (48, 48, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    arguments = ["--input", str(tmp_path), "--size", "32", "--seconds", "0.2"]
    assert input_speed.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(input_speed.IMAGE_FORMATS)
    assert all(float(number) > 0 for line in lines[2:] for number in line.split()[1:])


def test_too_few_photographs_are_refused(capsys, tmp_path):
    assert input_speed.main(["--input", str(tmp_path)]) == 2
    assert "at least 32 are needed" in capsys.readouterr().err
