"""metrics.jsonl and the TensorBoard events."""

import json
from contextlib import closing

from rffr_jax.training.metric_writer import MetricWriter


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def write(folder, start, steps):
    with closing(MetricWriter(folder, start)) as writer:
        for step in steps:
            writer.write(step, "train", {"loss": step / 2})


def test_one_object_a_line(tmp_path):
    with closing(MetricWriter(tmp_path, 0)) as writer:
        writer.write(5, "train", {"loss": 0.25, "images_seen": 160})
        writer.write(5, "validation", {"auc": float("nan")})
    assert lines(tmp_path) == [
        {"step": 5, "split": "train", "loss": 0.25, "images_seen": 160},
        {"step": 5, "split": "validation", "auc": None},
    ]


def test_a_line_is_there_at_once(tmp_path):
    with closing(MetricWriter(tmp_path, 0)) as writer:
        writer.write(1, "train", {"loss": 1.0})
        assert len(lines(tmp_path)) == 1


def test_a_resumed_run_reads_as_if_never_interrupted(tmp_path):
    (tmp_path / "whole").mkdir()
    write(tmp_path, 0, [1, 2, 3, 4])
    write(tmp_path, 2, [3, 4, 5])
    write(tmp_path / "whole", 0, [1, 2, 3, 4, 5])
    assert lines(tmp_path) == lines(tmp_path / "whole")


def test_a_half_written_line_is_dropped(tmp_path):
    write(tmp_path, 0, [1, 2])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "spl')
    write(tmp_path, 2, [3])
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]


def test_events_hold_every_number_under_its_split(tmp_path):
    with closing(MetricWriter(tmp_path, 0)) as writer:
        writer.write(1, "train", {"loss": 0.5, "learning_rate": 0.1})
        writer.write(1, "faces", {"auc": 0.75})
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"train/loss", b"train/learning_rate", b"faces/auc"):
        assert tag in content


def test_lines_that_are_no_metrics_are_dropped(tmp_path):
    write(tmp_path, 0, [1, 2])
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'\x00\xff\n[3]\n{"loss": 1}\n{"step": 2, "split": "faces"}')  # no line end
    write(tmp_path, 2, [3])
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 2, 3]
