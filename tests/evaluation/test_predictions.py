import csv
import dataclasses
import os

import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.evaluation.predictions import Predictions, concatenate
from rffr_jax.examples import Example
from rffr_jax.runs.atomic_files import atomic_write


def example(id: str, dataset: str = "d", label: int = 1) -> Example:
    return Example(id, f"/x/{id}", label, dataset, "m" if label else "real", id, 3, id)


def rows_of(path):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.reader(file))


def test_csv_has_the_contracts_columns_and_every_digit(tmp_path):
    scores = np.array([1 / 3, 1e-17])
    odd = 'comma, "quote" ü'
    Predictions([example("b", label=0), example(odd)], scores).write_csv(tmp_path / "p.csv")
    head, *rows = rows_of(tmp_path / "p.csv")
    assert head == [
        *("id", "path", "dataset", "method", "video", "frame", "label", "score"),
        *("source", "group"),
    ]
    assert [row[0] for row in rows] == ["b", odd]
    assert rows[0][1:7] == ["/x/b", "d", "real", "b", "3", "0"]
    assert [float(row[7]) for row in rows] == scores.tolist()
    assert os.listdir(tmp_path) == ["p.csv"]


def test_csv_takes_file_names_that_are_not_utf8(tmp_path):
    id = os.fsdecode(b"caf\xe9.png")
    Predictions([example(id)], np.zeros(1)).write_csv(tmp_path / "p.csv")
    assert rows_of(tmp_path / "p.csv")[1][0] == id


def test_files_do_not_depend_on_order_or_batches(tmp_path):
    rng = np.random.default_rng(0)
    examples = [example(f"{i}", dataset) for dataset in "ba" for i in range(30)]
    scores = rng.random(60)
    Predictions(examples, scores).write_csv(tmp_path / "one.csv")

    order = rng.permutation(60)
    pieces = [
        Predictions([examples[i] for i in part], scores[part]) for part in np.split(order, [7, 40])
    ]
    concatenate(pieces).write_csv(tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    keys = [(row[2], row[0]) for row in rows_of(tmp_path / "one.csv")[1:]]
    assert keys == sorted(keys)


def test_datasets_are_parted_with_their_bad_files():
    a, b = example("1", "a"), example("1", "b")
    bad = {example("2", "b"): "no image", example("3", "c"): "empty"}
    parts = Predictions([b, a], np.array([0.1, 0.2]), bad).by_dataset()
    assert list(parts) == ["a", "b", "c"]
    assert parts["a"].scores.tolist() == [0.2]
    assert list(parts["b"].bad.values()) == ["no image"]
    assert len(parts["c"].examples) == 0


def test_concatenating_nothing_gives_nothing():
    assert concatenate([]).scores.shape == (0,)


def test_an_example_named_twice_is_refused():
    one = Predictions([example("1")], np.zeros(1))
    with pytest.raises(UserError, match=r"'d' holds '1' twice"):
        concatenate([one, one])
    with pytest.raises(UserError, match="twice"):
        Predictions([example("1")], np.zeros(1), {example("1"): "broken"})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(value):
    with pytest.raises(UserError, match="not finite, the first for 'second' of dataset 'd'"):
        Predictions([example("first"), example("second")], np.array([0.5, value]))


def test_each_example_needs_its_score():
    with pytest.raises(ValueError, match="1 examples"):
        Predictions([example("1")], np.zeros(2))


def test_predictions_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Predictions([], np.zeros(0)).scores = np.ones(0)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as part:  # noqa: PT012
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_predictions_of_gend_are_read(tmp_path):
    """Its test_predictions.csv has a file, a class and a probability of each class in a line."""
    table = tmp_path / "test_predictions.csv"
    table.write_text(
        "files,labels,prob_class_0,prob_class_1,prob_class_2\n"
        "d/FF/real/000/001.png,0,0.9000,0.0700,0.0300\n"
        "d/FF/DF/000_003/001.png,1,0.4000,0.5000,0.1000\n"
        "d/FF/DF/000_003/002.png,2,0.3000,0.2000,0.5000\n"
    )
    found = Predictions.read_csv(table)
    assert found.scores.tolist() == [0.07, 0.5, 0.5]
    assert found.labels.tolist() == [0, 1, 1]
    assert found.examples[0].id == "d/FF/real/000/001.png"
    videos = [example.video for example in found.examples]
    assert videos == ["d/FF/real/000", "d/FF/DF/000_003", "d/FF/DF/000_003"]
    for line, message in [
        ("d/FF/real/000/001.png,0,0.9,x,0", "line 2: prob_class_1 'x' is no finite number"),
        ("d/FF/real/000/001.png,real,0.9,0.1,0", "line 2: labels 'real' is no finite number"),
        ("d/FF/real/000/001.png,0,0.9", "line 2 has not as many cells as the header"),
    ]:
        table.write_text(f"files,labels,prob_class_0,prob_class_1,prob_class_2\n{line}\n")
        with pytest.raises(UserError, match=message):
            Predictions.read_csv(table)
