"""scripts/false_alarms.py and predict_throughput.py."""

import math

import numpy as np
import pytest

import rffr_jax
from rffr_jax.data.specs import load_dataset
from scripts import false_alarms
from scripts import predict_throughput as throughput

# ---- false alarms


@pytest.mark.parametrize(("above", "count"), [(0, 10), (3, 7), (40, 150), (20, 20)])
def test_interval_is_wilsons(above, count):
    share, z = above / count, 1.959963984540054
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    expected = (middle - half, middle + half)
    assert false_alarms.wilson(above, count) == pytest.approx(expected, abs=1e-9)


def test_shares_of_reals_above_the_threshold(detector, faces, capsys):
    spec = f"csv:{faces}/test.csv"
    dataset = load_dataset(spec)
    reals = [n for n, example in enumerate(dataset.examples) if example.label == 0]
    scores = rffr_jax.load_detector(detector).score([dataset.load(n, 48) for n in reals])
    middle = float(np.sort(scores)[2:4].mean())
    flags = ["--detector", str(detector), "--reals", spec, "--threshold", str(middle)]
    assert false_alarms.main([*flags, "--batch-size", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| as they are | 6 | 3 | 50.0 | 18.8 to 81.2 |"
    rows = [line.split("|")[1].strip() for line in lines[2:15]]
    assert rows[1] == "JPEG, quality 95"
    assert rows[6] == "JPEG, quality 50"
    assert rows[7:] == [
        *(f"resized to (share of the side) and back {share}" for share in (0.75, 0.5, 0.25)),
        *(f"smoothed, standard deviation in pixels {sd}" for sd in (0.5, 1, 2)),
    ]
    assert "were trained on" not in "\n".join(lines)


def test_reals_of_the_training_are_named(detector, faces, monkeypatch, capsys):
    monkeypatch.setattr(false_alarms, "SWEEP", {})
    flags = ["--detector", str(detector), "--reals", f"csv:{faces}/train.csv"]
    flags += ["--batch-size", "4"]
    assert false_alarms.main(flags) == 0
    assert "note: 6 of these images, or their originals, were trained on" in capsys.readouterr().out


def test_mistakes_of_false_alarms(detector, tmp_path, capsys):
    flags = ["--detector", str(detector), "--reals"]
    assert false_alarms.main([*flags, f"folder:{tmp_path}"]) == 2
    assert false_alarms.main([*flags, f"folder:{tmp_path}", "--threshold", "2"]) == 2
    assert "it must lie in [0, 1]" in capsys.readouterr().err


# ---- throughput


def test_memory_is_compared_after_the_warm_up():
    memory = throughput.Memory()
    memory._seen = [*range(20), *[100] * 60, *[110] * 20]
    assert memory.levels(0.2) == (100, 110)
    assert memory.peak == 110


@pytest.mark.slow
def test_throughput_of_a_few_photographs(tmp_path, capsys):
    flags = ["--images", "12", "--minutes", "0.05", "--size", "tiny", "--image-size", "56"]
    flags += ["--faces", "given", "--batch-size", "4", "--staged", "6"]
    folder = tmp_path / "run"
    assert throughput.main(["--output", str(folder), *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.split("|")[1].strip() for line in lines}
    assert {"reading", "finding faces", "residuals", "classifier", "evidence pictures"} <= named
    assert any("files/s" in line for line in lines)
    assert any("s a minute" in line for line in lines)
    assert any("growth over 12 images" in line for line in lines)
    assert throughput.main(["--output", str(folder), *flags]) == 2
    assert "is not empty" in capsys.readouterr().err
